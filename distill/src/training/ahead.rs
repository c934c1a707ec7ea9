//! The teacher's features of a whole run, before it.

use super::{TrainError, check_batches, frames, progress_bar};
use crate::{
    data::Loader,
    recipe::{Recipe, RecipeError},
    transfer::Transfer,
};
use std::iter;

/// Runs a recipe's teacher on every picture that a run of the recipe will show it, and keeps the features in the recipe's
/// cache. Those that are there already are not computed again.
///
/// # Errors
/// As [`super::train`], as far as data and teacher go; and if the recipe has no cache.
pub fn fill_cache(recipe: &Recipe) -> Result<(), TrainError> {
    let network = recipe.build_network().map_err(RecipeError::from)?;
    let Some(transfer) = Transfer::open(recipe, &network)?.filter(|_| recipe.has_cache()) else {
        let reason = "is missing: where are the features to be kept?".into();
        return Err(RecipeError::Value { key: "teacher.cache".into(), reason }.into());
    };
    let training = frames(recipe, &recipe.data.train, &network)?;
    recipe
        .stages
        .iter()
        .filter(|stage| recipe.is_taught(stage))
        .try_for_each(|stage| check_batches(recipe, stage, &training))?;
    let stages = recipe.stages.iter().flat_map(|stage| iter::repeat_n(stage, stage.epochs));
    let taught = stages.zip(0..).filter(|(stage, _)| recipe.is_taught(stage)); // epochs are counted over all stages
    let taught: Vec<u64> = taught.map(|(_, epoch)| epoch).collect();

    let bar = progress_bar((taught.len() * Loader::len(&training, recipe.batch)) as u64, 0);
    let (mut pictures, mut cached) = (0, 0);
    for epoch in taught {
        for lesson in transfer.lessons(Loader::training(&training, recipe.batch, recipe.seed, epoch)) {
            let lesson = lesson?;
            pictures += lesson.batch.labels.len();
            cached += lesson.cached;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    log::info!("the features of {cached} of {pictures} pictures were in the cache already");
    Ok(())
}
