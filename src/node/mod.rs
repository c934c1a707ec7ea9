//! The ROS 2 node: images of a camera in, `vision_msgs/Detection2DArray` out.
//!
//! # The way of a message
//! 1. The main thread waits for ROS messages; a task hands images on to the `intake`, where only the newest waits.
//! 2. The `worker`, on a thread of its own, takes it from there; `camera` makes pixels of the message.
//! 3. [`Detector`] finds the objects, by the options that the `parameters` have just then.
//! 4. `publish` makes the message, with the image's header.
//!
//! `docs/ros-interface.md` has topics, parameters and exit codes.

mod camera;
mod error;
mod intake;
mod parameters;
mod publish;
mod silence;
mod tally;
mod throttle;
mod worker;

use self::{
    camera::Frame,
    error::NodeError,
    intake::Intake,
    parameters::{ImageTransport, Parameters, overrides, services},
    silence::{Change, Silence},
    tally::Tally,
    throttle::Throttle,
    worker::{FrameError, Surroundings, Worker},
};
use crate::{
    detection::{Detection, Detector, DetectorError, DetectorOptions},
    engine,
    model_file::Model,
};
use futures::{Stream, StreamExt};
use r2r::{
    Context, Node, Publisher, QosProfile,
    sensor_msgs::msg::{CompressedImage, Image},
    std_msgs::msg::Header,
    vision_msgs::msg::Detection2DArray,
};
use std::{
    env, io, panic,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

/// How long the main thread waits for ROS messages before it looks whether the node is to end.
const SPIN: Duration = Duration::from_millis(50);
/// How long a frame may be finished after the node is to end.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two messages about refused frames.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the node until SIGINT or SIGTERM: exit code 0. What keeps it from starting is logged: exit code 1.
pub fn run() -> ExitCode {
    match try_run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            r2r::log_fatal!("detector_node", "{error}");
            ExitCode::FAILURE
        }
    }
}

fn try_run() -> Result<(), NodeError> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let stop = stop_on_signals(&runtime)?;
    let mut node = Node::create(context()?, "detector_node", "")?;
    let logger = node.logger().to_string();

    let parameters = declare_parameters(&mut node, &runtime, &logger)?;
    let (path, engine) = {
        let parameters = lock(&parameters);
        (model_path(&parameters)?, parameters.engine_options())
    };
    let (model, detector) = Model::load_and(path, |model| {
        lock(&parameters).start(model.network.classes().len())?;
        let detector = Detector::new(&model, &engine, lock(&parameters).detector_options())?;
        Ok::<_, NodeError>((model, detector))
    })??;
    log_start(&logger, &model, &detector)?;

    let tally = Arc::new(Tally::default());
    let intake = Arc::new(Intake::new(tally.clone()));
    let publisher = node.create_publisher("detections", QosProfile::default())?; // reliable, depth 10
    let throttle = Throttle::new(REPORT_INTERVAL);
    let surroundings =
        NodeSurroundings { model, engine, parameters: parameters.clone(), publisher, throttle, logger: logger.clone() };
    let worker = Worker::start(detector, surroundings, intake.clone(), tally.clone())?;
    subscribe(&mut node, &runtime, &lock(&parameters), intake.clone())?;

    let mut silence = Silence::new(Instant::now());
    while !stop.load(Relaxed) {
        if worker.has_ended() {
            return Err(NodeError::Worker);
        }
        node.spin_once(SPIN);
        if let Some(change) = silence.notice(tally.received(), Instant::now()) {
            log_change(&logger, &change, &lock(&parameters));
        }
    }

    intake.close();
    if !worker.finish(PATIENCE) {
        tally.drop_one(); // the frame that is still computed; the process does not wait for it
    }
    r2r::log_info!(&logger, "{tally}");
    runtime.shutdown_background();
    Ok(())
}

/// A flag that SIGINT and SIGTERM set.
fn stop_on_signals(runtime: &Runtime) -> io::Result<Arc<AtomicBool>> {
    let _entered = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    runtime.spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        flag.store(true, Relaxed);
    });
    Ok(stop)
}

/// The ROS context, which reads the command line. r2r panics at one that ROS refuses; here that is an error.
fn context() -> Result<Context, NodeError> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let created = panic::catch_unwind(Context::create);
    panic::set_hook(hook);
    Ok(created.map_err(|panic| NodeError::Arguments(worker::message(panic.as_ref())))??)
}

/// Reads and checks what file and command line set, and starts the services through which parameters are read and set.
fn declare_parameters(node: &mut Node, runtime: &Runtime, logger: &str) -> Result<Arc<Mutex<Parameters>>, NodeError> {
    let mut parameters = Parameters::default();
    let arguments: Vec<_> = env::args().collect();
    let contradictory = overrides::contradictory(&arguments, &node.name()?, &node.fully_qualified_name()?)?;
    let unknown = parameters.load(&lock(&node.params), &contradictory)?;
    for (name, nearest) in unknown {
        r2r::log_warn!(logger, "parameter {name} is not known and has no effect; the nearest name is {nearest}");
    }
    let parameters = Arc::new(Mutex::new(parameters));
    services::start(node, runtime, parameters.clone(), logger)?;
    Ok(parameters)
}

/// The model file that is asked for, or the one that is installed beside the program.
fn model_path(parameters: &Parameters) -> Result<PathBuf, NodeError> {
    if !parameters.model_path.is_empty() {
        return Ok(PathBuf::from(&parameters.model_path));
    }
    // PREFIX/lib/onebit_detector/detector_node and PREFIX/share/onebit_detector/models.
    let program = env::current_exe()?;
    let prefix = program.ancestors().nth(3).unwrap_or(&program);
    let installed = prefix.join("share/onebit_detector/models/demo.safetensors");
    if installed.is_file() { Ok(installed) } else { Err(NodeError::NoModel(installed)) }
}

fn log_start(logger: &str, model: &Model, detector: &Detector) -> Result<(), NodeError> {
    let (network, session) = (&model.network, detector.session());
    r2r::log_info!(
        logger,
        "network {} input {} model {} mode {} kernel {} threads {}",
        network.name(),
        network.input(),
        model.hash()?,
        session.mode(),
        session.kernel(),
        session.threads()
    );
    Ok(())
}

/// A camera that is not heard: perhaps there is none on the topic, perhaps what it offers is less than what is asked for,
/// of which the middleware tells nobody.
fn log_change(logger: &str, change: &Change, parameters: &Parameters) {
    match change {
        Change::Silent => r2r::log_warn!(
            logger,
            "no image for {} s: is a camera on the topic? A publisher is heard only if it offers {}",
            silence::LIMIT.as_secs(),
            parameters.asked()
        ),
        Change::Heard(silence) => r2r::log_info!(logger, "images again, after {:.1} s", silence.as_secs_f64()),
    }
}

/// Subscribes to the camera; a task hands its images on.
fn subscribe(
    node: &mut Node,
    runtime: &Runtime,
    parameters: &Parameters,
    intake: Arc<Intake<Frame>>,
) -> Result<(), NodeError> {
    let qos = parameters.qos();
    match parameters.image_transport {
        ImageTransport::Raw => {
            let images = node.subscribe::<Image>("image", qos)?;
            runtime.spawn(hand_on(images.map(Frame::Raw), intake));
        }
        ImageTransport::Compressed => {
            let images = node.subscribe::<CompressedImage>("image/compressed", qos)?;
            runtime.spawn(hand_on(images.map(Frame::Compressed), intake));
        }
    }
    Ok(())
}

async fn hand_on(mut frames: impl Stream<Item = Frame> + Unpin, intake: Arc<Intake<Frame>>) {
    while let Some(frame) = frames.next().await {
        intake.put(frame);
    }
}

/// What the worker needs of the node.
struct NodeSurroundings {
    model: Model,
    engine: engine::Options,
    parameters: Arc<Mutex<Parameters>>,
    publisher: Publisher<Detection2DArray>,
    throttle: Throttle,
    logger: String,
}

impl Surroundings for NodeSurroundings {
    type Detector = Detector;

    fn detector(&self) -> Result<Detector, DetectorError> {
        Detector::new(&self.model, &self.engine, self.options())
    }

    fn options(&self) -> DetectorOptions {
        lock(&self.parameters).detector_options()
    }

    fn publish(&self, header: &Header, detections: &[Detection]) -> r2r::Result<()> {
        self.publisher.publish(&publish::message(header, detections, self.model.network.classes()))
    }

    fn report(&mut self, error: &FrameError) {
        match self.throttle.admit(Instant::now()) {
            None => (),
            Some(0) => r2r::log_error!(&self.logger, "frame refused: {error}"),
            Some(more) => r2r::log_error!(&self.logger, "frame refused: {error} ({more} more since the last message)"),
        }
    }
}

/// A lock whose data is whole even if a thread panicked while it held it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
