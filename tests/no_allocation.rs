//! After the first frame, running a network allocates nothing, on any thread.

use onebit_detector::{
    engine::{self, Mode, Options, Session, calibrate},
    model_file::{BinaryWeights, FullWeights, LayerWeights, Model, Preprocessing, Provenance},
    network::{Network, NetworkSpec, Operation, Precision, Topology},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Weights that differ from each other; their values do not matter here.
fn model(network: Network) -> Model {
    let value = |i: usize| (i * 7919 % 1009) as f32 / 504.5 - 1.0;
    let layer = |index: usize| {
        let layer = &network.layers()[index];
        let (precision, inputs) = match &layer.operation {
            Operation::Convolution(c) => (c.precision, network.source_shape(layer.inputs[0]).channels * c.kernel * c.kernel),
            Operation::Depthwise(_) => (Precision::Full, 9),
            _ => return LayerWeights::None,
        };
        let filters = network.shapes()[index].channels;
        let gain = 1.5 / (inputs as f32).sqrt();
        let bias = (0..filters).map(|i| 0.1 * value(i)).collect();
        let weights: Vec<_> = (0..filters * inputs).map(|i| gain * value(i)).collect();
        match precision {
            Precision::Binary => LayerWeights::Binary(BinaryWeights::pack(&weights, inputs, vec![gain; filters], bias)),
            Precision::Full => LayerWeights::Full(FullWeights { weights, inputs, bias }),
        }
    };
    let weights = (0..network.layers().len()).map(layer).collect();
    let (preprocessing, provenance) = (Preprocessing::default(), Provenance::default());
    Model { network, weights, quantization: None, preprocessing, provenance }
}

#[test]
fn running_allocates_nothing() {
    for topology in Topology::ALL {
        let spec = NetworkSpec { width: 0.125, input: "96x64".parse().unwrap(), ..NetworkSpec::preset(topology) };
        let mut model = model(spec.build().unwrap());
        let image = image::RgbImage::from_fn(96, 64, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
        model.quantization = Some(calibrate(&model, [&image]).unwrap());
        let every = |mode| engine::kernels(mode).into_iter().map(move |kernel| (mode, kernel));
        for (mode, kernel) in every(Mode::F32).chain(every(Mode::Int8)) {
            let options = Options { mode, threads: 3, kernel: Some(kernel.to_owned()), ..Options::default() };
            let mut session = Session::new(&model, &options).unwrap();
            let mut sum = 0.0;
            let mut frame = || {
                let mut input = session.input_mut();
                for (y, row) in image.as_raw().chunks_exact(3 * 96).enumerate() {
                    input.write_row(y, row);
                }
                session.run();
                sum += session.output().get(0, 1, 2);
            };
            frame();
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            for _ in 0..20 {
                frame();
            }
            assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0, "{topology}, {mode}, {kernel}");
            assert!(sum.is_finite() && sum != 0.0);
        }
    }
}
