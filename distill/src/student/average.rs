//! A moving average of the weights.

use super::{Filters, Norm, Student};
use burn::{module::Param, tensor::Tensor};

impl Student {
    /// `self · (1 − share) + newer · share`, for every weight and running statistic. `newer` is under training, `self` is
    /// what [`burn::module::Module::valid`] made of it at some time.
    pub fn moved_toward(mut self, newer: &Self, share: f64) -> Self {
        let pairs = self.filters.into_iter().zip(&newer.filters);
        self.filters = pairs.map(|(old, new)| old.moved_toward(new, share)).collect();
        self
    }
}

impl Filters {
    fn moved_toward(mut self, newer: &Self, share: f64) -> Self {
        self.latent = moved(self.latent, &newer.latent, share);
        self.scale = self.scale.zip(newer.scale.as_ref()).map(|(old, new)| moved(old, new, share));
        self.norm = self.norm.zip(newer.norm.as_ref()).map(|(old, new)| Norm {
            scale: moved(old.scale, &new.scale, share),
            shift: moved(old.shift, &new.shift, share),
            mean: moved(old.mean, &new.mean, share),
            variance: moved(old.variance, &new.variance, share),
        });
        self.bias = self.bias.zip(newer.bias.as_ref()).map(|(old, new)| moved(old, new, share));
        self
    }
}

fn moved<const D: usize>(old: Param<Tensor<D>>, new: &Param<Tensor<D>>, share: f64) -> Param<Tensor<D>> {
    let new = new.val().inner();
    old.map(|old| old * (1.0 - share) + new * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Binarization, FilterScale};
    use burn::{
        module::{Module, ModuleVisitor},
        tensor::Device,
    };
    use onebit_detector::network::{NetworkSpec, Topology};

    fn values(student: &Student) -> Vec<f32> {
        struct Values(Vec<f32>);
        impl ModuleVisitor for Values {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.extend(param.val().into_data().try_to_vec::<f32>().unwrap());
            }
        }
        let mut values = Values(Vec::new());
        student.visit(&mut values);
        values.0
    }

    #[test]
    fn every_value_moves_by_its_share() {
        let network = NetworkSpec { width: 0.125, ..NetworkSpec::preset(Topology::DarknetYolo64) }.build().unwrap();
        let device = Device::flex().autodiff();
        let binarization = Binarization { scale: FilterScale::Learned, ..Binarization::default() };
        let [a, b] = [(); 2].map(|()| Student::new(&network, binarization, &device));
        let moved = a.valid().moved_toward(&b, 0.25);
        let (a, b, moved) = (values(&a), values(&b), values(&moved));
        assert!(a.len() == moved.len() && a != b);
        for ((a, b), moved) in a.iter().zip(&b).zip(moved) {
            assert!((moved - (0.75 * a + 0.25 * b)).abs() < 1e-6, "{moved} between {a} and {b}");
        }
    }
}
