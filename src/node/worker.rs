//! The detector on a thread of its own.

use super::{
    camera::{Camera, CameraError, Frame},
    intake::Intake,
    tally::Tally,
};
use crate::detection::{Detection, Detector, DetectorError, DetectorOptions, ImageView, OptionError};
use r2r::std_msgs::msg::Header;
use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use thiserror::Error;

/// What finds the objects.
pub(super) trait Detect {
    /// The objects in an image.
    fn detect(&mut self, image: &ImageView<'_>) -> &[Detection];
    /// Other options from the next image on.
    fn set_options(&mut self, options: DetectorOptions) -> Result<(), OptionError>;
}

impl Detect for Detector {
    fn detect(&mut self, image: &ImageView<'_>) -> &[Detection] {
        self.detect(image)
    }

    fn set_options(&mut self, options: DetectorOptions) -> Result<(), OptionError> {
        self.set_options(options)
    }
}

/// What the worker needs of the node around it.
pub(super) trait Surroundings {
    type Detector: Detect;
    /// A new detector, in place of one that panicked.
    fn detector(&self) -> Result<Self::Detector, DetectorError>;
    /// The options that are wanted now.
    fn options(&self) -> DetectorOptions;
    /// Sends out what was found.
    fn publish(&self, header: &Header, detections: &[Detection]) -> r2r::Result<()>;
    /// Tells of a frame that was refused.
    fn report(&mut self, error: &FrameError);
}

/// Why there are no detections for a frame.
#[derive(Debug, Error)]
pub(super) enum FrameError {
    #[error(transparent)]
    Camera(#[from] CameraError),
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("the detections cannot be published: {0}")]
    Publish(#[from] r2r::Error),
    #[error("the detector panicked ({0}); it is started anew")]
    Panic(String),
    #[error("the detector that panicked cannot be started anew: {0}")]
    Restart(#[from] DetectorError),
}

/// The thread that takes frames from the intake until that is closed.
pub(super) struct Worker {
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives none.
    pub(super) fn start<S>(
        detector: S::Detector,
        surroundings: S,
        intake: Arc<Intake<Frame>>,
        tally: Arc<Tally>,
    ) -> io::Result<Self>
    where
        S: Surroundings + Send + 'static,
        S::Detector: Send,
    {
        let work = Work { detector: Some(detector), options: None, surroundings, camera: Camera::default() };
        let run = move || work.run(&intake, &tally);
        let thread = thread::Builder::new().name("detector".into()).spawn(run)?;
        Ok(Self { thread })
    }

    /// Whether the thread has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread, whose intake is closed; `false` if it still computes when `patience` is over.
    pub(super) fn finish(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while !self.has_ended() && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        self.has_ended()
    }
}

struct Work<S: Surroundings> {
    /// `None` after a panic.
    detector: Option<S::Detector>,
    /// The options that the detector has; `None` if that is not known.
    options: Option<DetectorOptions>,
    surroundings: S,
    camera: Camera,
}

impl<S: Surroundings> Work<S> {
    fn run(mut self, intake: &Intake<Frame>, tally: &Tally) {
        while let Some(frame) = intake.take() {
            // After a panic neither the detector nor the camera's buffer is used as it was left.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.process(&frame, intake))).unwrap_or_else(|panic| {
                self.detector = None;
                self.camera = Camera::default();
                Err(FrameError::Panic(message(panic.as_ref())))
            });
            match outcome {
                Ok(true) => tally.process(),
                Ok(false) => tally.drop_one(),
                Err(error) => {
                    tally.refuse();
                    self.surroundings.report(&error);
                }
            }
        }
    }

    /// Publishes the detections in a frame; `false` if the node ended before they were found.
    fn process(&mut self, frame: &Frame, intake: &Intake<Frame>) -> Result<bool, FrameError> {
        let image = self.camera.view(frame)?;
        let detector = match &mut self.detector {
            Some(detector) => detector,
            empty => {
                self.options = None;
                empty.insert(self.surroundings.detector()?)
            }
        };
        let wanted = self.surroundings.options();
        if self.options.as_ref() != Some(&wanted) {
            detector.set_options(wanted.clone())?;
            self.options = Some(wanted);
        }
        let detections = detector.detect(&image);
        if intake.is_closed() {
            return Ok(false);
        }
        self.surroundings.publish(frame.header(), detections)?;
        Ok(true)
    }
}

/// What a panic says.
pub(super) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").into()
}

#[cfg(test)]
mod tests;
