//! What a command line lays over a recipe: where things are on this machine.

use clap::Args;
use onebit_distill::{
    device::Compute,
    recipe::{Recipe, RecipeError},
};
use std::path::{Path, PathBuf};

/// Where the data sets are.
#[derive(Args)]
pub(crate) struct DataFolder {
    /// Folder of the data sets, in place of the recipe's data.root
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

impl DataFolder {
    pub(crate) fn load(&self, recipe: &Path) -> Result<Recipe, RecipeError> {
        let mut recipe = Recipe::load(recipe)?;
        self.lay_over(&mut recipe);
        Ok(recipe)
    }

    fn lay_over(&self, recipe: &mut Recipe) {
        self.data.iter().for_each(|root| recipe.set_root(root));
    }
}

/// Where the data sets and the teacher are.
#[derive(Args)]
pub(crate) struct Overlay {
    #[command(flatten)]
    data: DataFolder,
    /// The teacher's ONNX file, in place of the recipe's teacher.file
    #[arg(long, value_name = "FILE")]
    teacher: Option<PathBuf>,
}

impl Overlay {
    pub(crate) fn load(&self, recipe: &Path) -> Result<Recipe, RecipeError> {
        let mut recipe = Recipe::load(recipe)?;
        self.lay_over(&mut recipe);
        Ok(recipe)
    }

    pub(crate) fn lay_over(&self, recipe: &mut Recipe) {
        self.data.lay_over(recipe);
        self.teacher.iter().for_each(|file| recipe.set_teacher(file));
    }
}

/// What trains.
#[derive(Args)]
pub(crate) struct Devices {
    /// Where to compute: cpu, vulkan, cuda or cuda:N; several take the recipe's shards in turn
    #[arg(long = "device", value_name = "DEVICE", value_delimiter = ',', default_value = "cpu")]
    pub(crate) list: Vec<Compute>,
}
