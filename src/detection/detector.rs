//! The one function that everybody calls: image in, boxes out.

use super::{Detection, DetectorOptions, ImageView, OptionError, Postprocess, Resampler};
use crate::{
    engine::{EngineError, Options, Session},
    model_file::{Model, Preprocessing},
    network::Network,
};
use std::time::{Duration, Instant};
use thiserror::Error;

/// A model ready to find objects in images. After the first image of a size it allocates nothing.
pub struct Detector {
    resampler: Resampler,
    session: Session,
    postprocess: Postprocess,
    timings: Timings,
}

/// A detector that cannot be made.
#[derive(Debug, Error)]
pub enum DetectorError {
    /// The engine cannot run the model.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An option is out of its range.
    #[error(transparent)]
    Option(#[from] OptionError),
}

/// Where the time of the last image went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Drawing the image into the network's input.
    pub letterbox: Duration,
    /// Running the network.
    pub network: Duration,
    /// Decoding and suppression.
    pub boxes: Duration,
}

impl Detector {
    /// Prepares a model.
    ///
    /// # Errors
    /// As [`Session::new`] and [`Postprocess::new`].
    pub fn new(model: &Model, engine: &Options, options: DetectorOptions) -> Result<Self, DetectorError> {
        Self::of_session(Session::new(model, engine)?, model.preprocessing, options)
    }

    /// Prepares a model that is planned already; `preprocessing` is that of the model.
    ///
    /// # Errors
    /// As [`Postprocess::new`].
    pub fn of_session(
        session: Session,
        preprocessing: Preprocessing,
        options: DetectorOptions,
    ) -> Result<Self, DetectorError> {
        Ok(Self {
            resampler: Resampler::new(session.network().input(), preprocessing),
            postprocess: Postprocess::new(session.network().classes().len(), options)?,
            session,
            timings: Timings::default(),
        })
    }

    /// The objects in an image, best first, in pixels of the image.
    pub fn detect(&mut self, image: &ImageView) -> &[Detection] {
        let start = Instant::now();
        let mut input = self.session.input_mut();
        let letterbox = self.resampler.draw(image, |y, rgb| input.write_row(y, rgb));
        let drawn = Instant::now();
        self.session.run();
        let ran = Instant::now();
        let output = self.session.output();
        let boxes = self.postprocess.run(self.session.network(), &letterbox, |c, y, x| output.get(c, y, x));
        self.timings = Timings { letterbox: drawn - start, network: ran - drawn, boxes: ran.elapsed() };
        boxes
    }

    /// What finds the objects.
    pub fn network(&self) -> &Network {
        self.session.network()
    }

    /// What runs the network.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The options in force.
    pub fn options(&self) -> &DetectorOptions {
        self.postprocess.options()
    }

    /// Other options from the next image on.
    ///
    /// # Errors
    /// Names the option that is out of range; then the old ones stay in force.
    pub fn set_options(&mut self, options: DetectorOptions) -> Result<(), OptionError> {
        self.postprocess.set_options(options)
    }

    /// Where the time of the last image went.
    pub fn timings(&self) -> Timings {
        self.timings
    }
}

#[cfg(test)]
mod tests;
