use super::*;
use crate::detection::BBox;
use r2r::sensor_msgs::msg::Image;
use std::sync::{
    Mutex,
    mpsc::{Receiver, Sender, channel},
};

/// Finds one object, whose score is the image's first byte over 255 and whose class tells how many detectors there
/// were before; panics at images that start with 0 and waits at those that start with 1.
struct Fake {
    generation: usize,
    found: Vec<Detection>,
    max_detections: usize,
    wait: Arc<Mutex<()>>,
}

impl Detect for Fake {
    fn detect(&mut self, image: &ImageView<'_>) -> &[Detection] {
        let byte = image.row(0)[0];
        assert_ne!(byte, 0, "an image that starts with 0");
        if byte == 1 {
            drop(self.wait.lock().unwrap());
        }
        let bbox = BBox { cx: 1.0, cy: 2.0, w: 3.0, h: 4.0 };
        self.found = vec![Detection { class: self.generation, score: f32::from(byte) / 255.0, bbox }];
        self.found.truncate(self.max_detections);
        &self.found
    }

    fn set_options(&mut self, options: DetectorOptions) -> Result<(), OptionError> {
        self.max_detections = options.max_detections;
        Ok(())
    }
}

/// What the worker did, in order.
#[derive(Debug, PartialEq)]
enum Event {
    Published(String, Vec<(usize, f32)>),
    Reported(String),
}

struct Bench {
    events: Sender<Event>,
    generation: Mutex<usize>,
    options: Arc<Mutex<DetectorOptions>>,
    wait: Arc<Mutex<()>>,
}

impl Bench {
    fn fake(&self) -> Fake {
        let mut generation = self.generation.lock().unwrap();
        *generation += 1;
        Fake { generation: *generation, found: vec![], max_detections: 0, wait: self.wait.clone() }
    }
}

impl Surroundings for Bench {
    type Detector = Fake;

    fn detector(&self) -> Result<Fake, DetectorError> {
        Ok(self.fake())
    }

    fn options(&self) -> DetectorOptions {
        self.options.lock().unwrap().clone()
    }

    fn publish(&self, header: &Header, detections: &[Detection]) -> r2r::Result<()> {
        let found = detections.iter().map(|found| (found.class, found.score)).collect();
        self.events.send(Event::Published(header.frame_id.clone(), found)).unwrap();
        Ok(())
    }

    fn report(&mut self, error: &FrameError) {
        self.events.send(Event::Reported(error.to_string())).unwrap();
    }
}

struct Setup {
    worker: Worker,
    intake: Arc<Intake<Frame>>,
    tally: Arc<Tally>,
    options: Arc<Mutex<DetectorOptions>>,
    wait: Arc<Mutex<()>>,
    events: Receiver<Event>,
}

fn setup() -> Setup {
    let (sender, events) = channel();
    let tally = Arc::new(Tally::default());
    let intake = Arc::new(Intake::new(tally.clone()));
    let (options, wait) = (Arc::new(Mutex::new(DetectorOptions::default())), Arc::default());
    let bench = Bench { events: sender, generation: Mutex::new(0), options: options.clone(), wait: Arc::clone(&wait) };
    let worker = Worker::start(bench.fake(), bench, intake.clone(), tally.clone()).unwrap();
    Setup { worker, intake, tally, options, wait, events }
}

/// An image of one grey pixel.
fn frame(name: &str, byte: u8, encoding: &str) -> Frame {
    let header = Header { frame_id: name.into(), ..Default::default() };
    let encoding = encoding.into();
    Frame::Raw(Image { header, width: 1, height: 1, step: 1, encoding, data: vec![byte], ..Default::default() })
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Setup {
    /// Puts a frame in and waits for what comes of it.
    fn after(&self, frame: Frame) -> Event {
        self.intake.put(frame);
        self.events.recv_timeout(PATIENCE).expect("something comes of each frame")
    }

    /// Ends the worker and returns its count.
    fn end(self) -> String {
        self.intake.close();
        assert!(self.worker.finish(PATIENCE));
        self.tally.to_string()
    }
}

#[test]
fn broken_frames_and_panics_are_reported_and_the_work_goes_on() {
    let setup = setup();
    let published = |name: &str, found| Event::Published(name.into(), found);
    assert_eq!(setup.after(frame("a", 255, "mono8")), published("a", vec![(1, 1.0)]));
    let Event::Reported(broken) = setup.after(frame("b", 255, "rgb8")) else { panic!("a broken frame") };
    assert_eq!(broken, "a row of 1 pixels takes 3 bytes, the image's step is 1");
    let Event::Reported(panicked) = setup.after(frame("c", 0, "mono8")) else { panic!("a panic") };
    assert!(panicked.contains("the detector panicked (") && panicked.contains("starts with 0"), "{panicked}");
    // A new detector, with the options.
    assert_eq!(setup.after(frame("d", 51, "mono8")), published("d", vec![(2, 0.2)]));
    assert_eq!(setup.end(), "frames received 4 processed 2 dropped 0 refused 2");
}

#[test]
fn options_hold_from_the_next_frame_on() {
    let setup = setup();
    setup.after(frame("a", 255, "mono8"));
    setup.options.lock().unwrap().max_detections = 0;
    assert_eq!(setup.after(frame("b", 255, "mono8")), Event::Published("b".into(), vec![]));
    assert_eq!(setup.end(), "frames received 2 processed 2 dropped 0 refused 0");
}

#[test]
fn a_frame_that_is_done_after_the_end_is_dropped() {
    let setup = setup();
    let wait = setup.wait.clone();
    let guard = wait.lock().unwrap();
    setup.intake.put(frame("a", 1, "mono8"));
    // Until it is taken, closing would drop it there.
    while setup.intake.is_waiting() {
        thread::yield_now();
    }
    setup.intake.close();
    assert!(!setup.worker.finish(Duration::from_millis(20)), "the frame is being computed");
    drop(guard);
    assert!(setup.worker.finish(PATIENCE));
    assert!(setup.events.try_recv().is_err(), "nothing is published after the end");
    assert_eq!(setup.end(), "frames received 1 processed 0 dropped 1 refused 0");
}
