//! The operations that fill a training step, written for the CPU.
//!
//! burn's flex backend composes batch norm with its rectifier from many passes over memory, takes the gradient of a
//! convolution's weights as a convolution with a kernel as large as the map, and pools value by value. Here a convolution and
//! its gradients are sums of shifted maps ([`convolution`]), taken in tiles that stay in registers ([`tiles`]); batch norm
//! with what follows it reads and writes each map as seldom as it can ([`norm`]), and so does pooling ([`pool`]). On other
//! devices burn's own operations are used.

mod convolution;
mod norm;
mod pool;
mod tiles;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{Device, Tensor, TensorData},
};
use convolution::Convolution;
use norm::Affine;
use pulp::Arch;

type Values = FloatTensor<Flex>;

/// Is this tensor computed by the backend for which these operations are written?
pub(super) fn computes(x: &Tensor<4>) -> bool {
    x.device() == Device::flex()
}

/// A convolution with same padding of `x` `[batch, channels, height, width]` by `weight` `[filters, channels, kernel, kernel]`,
/// or, `depthwise`, of each channel by one of `[channels, 1, kernel, kernel]`.
pub(super) fn convolve(x: Tensor<4>, weight: Tensor<4>, stride: usize, depthwise: bool) -> Tensor<4> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(<Dispatch as LayerOps>::convolve(x, weight, stride, depthwise))
}

/// Batch norm of `x` `[batch, channels, height, width]` with its own statistics, `z = scale · (x − mean) / sqrt(variance + ε) +
/// shift`, then `max(z, slope·z)`. Returns this, the mean, and the biased variance `[channels]`; the gradient flows through
/// the first alone.
pub(super) fn normalise(
    x: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    epsilon: f32,
    slope: f32,
) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let (x, scale, shift) = (x.into_dispatch(), scale.into_dispatch(), shift.into_dispatch());
    let (y, mean, variance) = <Dispatch as LayerOps>::normalise(x, scale, shift, epsilon, slope);
    (Tensor::from_dispatch(y), Tensor::from_dispatch(mean), Tensor::from_dispatch(variance))
}

/// The largest of each 2x2 values of `x` `[batch, channels, height, width]`, whose sides are even.
pub(super) fn pool(x: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as LayerOps>::pool(x.into_dispatch()))
}

/// See [`convolve`], [`normalise`] and [`pool`].
#[backend_extension(Flex, Autodiff)]
trait LayerOps: Backend {
    fn convolve(x: FloatTensor<Self>, weight: FloatTensor<Self>, stride: usize, depthwise: bool) -> FloatTensor<Self>;

    fn normalise(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f32,
        slope: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn pool(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl LayerOps for Flex {
    fn convolve(x: Values, weight: Values, stride: usize, depthwise: bool) -> Values {
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let convolution = Convolution::new(dims(&x), dims(&weight), stride, depthwise);
        tensor(convolution.forward(slice(&x), slice(&weight)), convolution.output())
    }

    fn normalise(x: Values, scale: Values, shift: Values, epsilon: f32, slope: f32) -> (Values, Values, Values) {
        let x = x.to_contiguous();
        let [batch, channels, height, width] = dims(&x);
        let affine = Affine { scale: slice(&scale), shift: slice(&shift), epsilon, slope, arch: Arch::new() };
        let (y, moments) = affine.forward(slice(&x), height * width);
        let (mean, variance) = moments.into_iter().unzip();
        (tensor(y, [batch, channels, height, width]), tensor(mean, [channels]), tensor(variance, [channels]))
    }

    fn pool(x: Values) -> Values {
        let x = x.to_contiguous();
        let [batch, channels, height, width] = dims(&x);
        tensor(pool::forward(slice(&x), width), [batch, channels, height / 2, width / 2])
    }
}

impl<C: CheckpointStrategy> LayerOps for Autodiff<Flex, C> {
    fn convolve(x: FloatTensor<Self>, weight: FloatTensor<Self>, stride: usize, depthwise: bool) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        match Convolve.prepare::<C>([x_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(graph) => {
                graph.finish((x.clone(), weight.clone(), stride, depthwise), Flex::convolve(x, weight, stride, depthwise))
            }
            OpsKind::UnTracked(graph) => graph.finish(Flex::convolve(x, weight, stride, depthwise)),
        }
    }

    fn normalise(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f32,
        slope: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let ((x, x_node), (scale, scale_node), (shift, shift_node)) =
            (x.into_parts(), scale.into_parts(), shift.into_parts());
        let (y, mean, variance) = Flex::normalise(x.clone(), scale.clone(), shift.clone(), epsilon, slope);
        let y = match Normalise.prepare::<C>([x_node, scale_node, shift_node]).compute_bound().stateful() {
            OpsKind::Tracked(graph) => graph
                .finish(Normalised { x, scale, shift, mean: mean.clone(), variance: variance.clone(), epsilon, slope }, y),
            OpsKind::UnTracked(graph) => graph.finish(y),
        };
        let constant = <Self as burn::backend::AutodiffBackend>::from_inner;
        (y, constant(mean), constant(variance))
    }

    fn pool(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        match Pool.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(graph) => graph.finish(x.clone(), Flex::pool(x)),
            OpsKind::UnTracked(graph) => graph.finish(Flex::pool(x)),
        }
    }
}

#[derive(Debug)]
struct Convolve;

impl Backward<Flex, 2> for Convolve {
    type State = (Values, Values, usize, bool);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (x, weight, stride, depthwise) = ops.state;
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let [x_node, weight_node] = ops.parents;
        let y = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let (x_dims, weight_dims) = (dims(&x), dims(&weight));
        let convolution = Convolution::new(x_dims, weight_dims, stride, depthwise);
        let (of_x, of_weight) = convolution.backward(slice(&x), slice(&weight), slice(&y), x_node.is_some());
        if let Some((node, values)) = x_node.zip(of_x) {
            gradients.register::<Flex>(node.id, tensor(values, x_dims));
        }
        if let Some(node) = weight_node {
            gradients.register::<Flex>(node.id, tensor(of_weight, weight_dims));
        }
    }
}

#[derive(Debug)]
struct Normalise;

#[derive(Clone, Debug)]
struct Normalised {
    x: Values,
    scale: Values,
    shift: Values,
    mean: Values,
    variance: Values,
    epsilon: f32,
    slope: f32,
}

impl Backward<Flex, 3> for Normalise {
    type State = Normalised;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let Normalised { x, scale, shift, mean, variance, epsilon, slope } = ops.state;
        let x = x.to_contiguous();
        let y = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [_, channels, height, width] = dims(&x);
        let affine = Affine { scale: slice(&scale), shift: slice(&shift), epsilon, slope, arch: Arch::new() };
        let moments: Vec<_> = slice(&mean).iter().copied().zip(slice(&variance).iter().copied()).collect();
        let (of_x, of_affine) = affine.backward(slice(&x), &moments, slice(&y), height * width);
        let (of_scale, of_shift) = of_affine.into_iter().unzip();
        let [x_node, scale_node, shift_node] = ops.parents;
        if let Some(node) = x_node {
            gradients.register::<Flex>(node.id, tensor(of_x, dims(&x)));
        }
        for (node, values) in [(scale_node, of_scale), (shift_node, of_shift)] {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, tensor(values, [channels]));
            }
        }
    }
}

#[derive(Debug)]
struct Pool;

impl Backward<Flex, 1> for Pool {
    type State = Values;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let x = ops.state.to_contiguous();
        let y = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [node] = ops.parents;
        if let Some(node) = node {
            let [_, _, _, width] = dims(&x);
            gradients.register::<Flex>(node.id, tensor(pool::backward(slice(&x), slice(&y), width), dims(&x)));
        }
    }
}

fn dims(x: &Values) -> [usize; 4] {
    x.layout().shape().dims()
}

fn slice(x: &Values) -> &[f32] {
    x.as_slice().expect("contiguous, and of the only float type that is trained in")
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Values {
    Values::from_data(TensorData::new(values, shape))
}
