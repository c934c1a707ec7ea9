//! Batch norm's statistics measured anew with the weights at rest.

use super::PackError;
use crate::{
    data::{Dataset, Loader, Sampler},
    recipe::{Recipe, RecipeError, Stage},
    student::{Moments, Student},
    training::images,
};
use burn::module::Module;
use std::sync::Arc;

/// Replaces batch norm's running statistics by those of all values of `batches` training batches of a stage, the first ones of
/// the epoch number `epoch` and of those after it.
///
/// In training they trail behind weights that still move, and for a moving average of weights they are only an average of
/// other networks' statistics (Wu and Johnson, *Rethinking "Batch" in BatchNorm*, arXiv 2105.07576, section 3).
pub(super) fn measured(
    student: Student,
    recipe: &Recipe,
    stage: &Stage,
    batches: usize,
    epoch: u64,
) -> Result<Student, PackError> {
    let network = recipe.build_network().map_err(RecipeError::from)?;
    let dataset = Dataset::load(&recipe.data, &recipe.data.train, network.classes())?;
    let sampler = Sampler::new(dataset, recipe);
    let sampler = Arc::new(if recipe.is_taught(stage) { sampler } else { sampler.labelled() });
    if Loader::len(&sampler, recipe.batch) == 0 {
        return Err(PackError::NoBatch { batch: recipe.batch });
    }
    let device = student.devices().remove(0);
    let epochs = (epoch..).map(|epoch| Loader::training(&sampler, recipe.batch, recipe.seed, epoch));
    let mut parts: Vec<Vec<Option<Moments>>> = Vec::new();
    for batch in epochs.flatten().take(batches) {
        for part in batch?.split(recipe.shards) {
            let (_, moments) = student.learn(images(&part, &device));
            parts.push(moments);
        }
    }
    let layer = |index: usize| parts.iter().map(|part| part[index].clone()).collect::<Option<Vec<_>>>();
    let pooled = (0..student.filters.len()).map(|index| layer(index).map(|parts| Moments::pooled(&parts)));
    let pooled = pooled.collect();
    Ok(student.with_statistics(pooled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::{self, Condition};
    use burn::tensor::{Device, Tensor, module::conv2d, ops::ConvOptions};

    /// The first layer's sums of every picture that was measured on, computed once more in one go.
    #[test]
    fn the_first_layer_has_the_statistics_of_all_its_sums() {
        let folder = tempfile::tempdir().unwrap();
        synth::write(&folder.path().join("set"), 4, 1, &[Condition::Day, Condition::Night]).unwrap();
        let yaml = "
network: {topology: darknet-yolo-64, width: 0.125, input: 160x96}
window: 64x64
data: {train: [{path: set}], classes: {Car: car}}
batch: 2
shards: 2
stages: [{name: binary, epochs: 1, learning_rate: {peak: 1.0e-3, end: 0}}]";
        let path = folder.path().join("recipe.yaml");
        std::fs::write(&path, yaml).unwrap();
        let recipe = Recipe::load(&path).unwrap();
        let network = recipe.build_network().unwrap();
        let device = Device::flex().autodiff();
        let student = Student::new(&network, recipe.binarization, &device);

        let sampler = Sampler::new(Dataset::load(&recipe.data, &recipe.data.train, network.classes()).unwrap(), &recipe);
        let sampler = Arc::new(sampler);
        // Two batches fill an epoch: the third one is the next epoch's first.
        let batches = [5, 6].into_iter().flat_map(|epoch| Loader::training(&sampler, 2, recipe.seed, epoch)).take(3);
        let pictures = Tensor::cat(batches.map(|batch| images(&batch.unwrap(), &device)).collect(), 0);
        let weight = student.filters[0].weight();
        let sums = conv2d(pictures, weight, None, ConvOptions::new([1; 2], [1; 2], [1; 2], 1)).swap_dims(0, 1);
        let sums: Tensor<2> = sums.flatten(1, 3);
        let (variance, mean) = sums.var_mean_bias(1);

        let norm = measured(student, &recipe, &recipe.stages[0], 3, 5).unwrap().filters.remove(0).norm.unwrap();
        let values = |tensor: Tensor<1>| tensor.into_data().try_to_vec::<f32>().unwrap();
        for (found, expected) in [(norm.mean, mean), (norm.variance, variance)] {
            let (found, expected) = (values(found.val()), values(expected.flatten(0, 1)));
            let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4 * largest), "{found:?}, {expected:?}");
        }
    }
}
