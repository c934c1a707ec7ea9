//! `distill anchors`.

use super::overlay::DataFolder;
use clap::Args;
use onebit_detector::network::{Anchor, InputSize};
use onebit_distill::{
    anchors::{augmented_sizes, fit, mean_iou, plain_sizes},
    data::{Dataset, Sampler},
    recipe::{Broken, DataConfig, SetConfig},
};
use std::{error::Error, path::PathBuf};

#[derive(Args)]
#[command(after_help = "Examples:\n  distill anchors distill/recipes/demo.yaml --data DATA\n  \
                        distill anchors kitti/training --input 1248x384 --types Car,Pedestrian,Cyclist")]
pub(crate) struct Arguments {
    /// A recipe (boxes as its training pictures show them), or folders in KITTI layout (frames as the detector sees them)
    #[arg(required = true, value_name = "RECIPE|FOLDER")]
    sources: Vec<PathBuf>,
    #[command(flatten)]
    data: DataFolder,
    /// With folders: size of the network's input
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "416x416")]
    input: InputSize,
    /// With folders: object types that count
    #[arg(long, value_delimiter = ',', default_value = "Car,Pedestrian,Cyclist")]
    types: Vec<String>,
    /// How many anchors
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=32))]
    number: u8,
    /// Source of all chance
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

type Sizes = (Vec<Anchor>, Option<Vec<Anchor>>);

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        let (sizes, current) = self.sizes()?;
        let anchors = fit(&sizes, self.number.into(), self.seed)
            .ok_or_else(|| format!("{} boxes, too few different ones for {} anchors", sizes.len(), self.number))?;
        let anchors: Vec<_> = anchors.into_iter().map(|Anchor(w, h)| Anchor(rounded(w), rounded(h))).collect();
        let pairs: Vec<String> = anchors.iter().map(|Anchor(w, h)| format!("[{w}, {h}]")).collect();
        println!("anchors: [{}]", pairs.join(", "));
        println!("# mean IoU {:.3} over {} boxes", mean_iou(&sizes, &anchors), sizes.len());
        if let Some(current) = current {
            println!("# the recipe's present anchors: {:.3}", mean_iou(&sizes, &current));
        }
        Ok(())
    }

    /// The boxes in grid cells, and the anchors of the recipe if there is one.
    fn sizes(&self) -> Result<Sizes, Box<dyn Error>> {
        if let [recipe] = &self.sources[..]
            && recipe.is_file()
        {
            let recipe = self.data.load(recipe)?;
            let network = recipe.build_network()?;
            let onebit_detector::network::Head::Region(head) = network.head();
            let dataset = Dataset::load(&recipe.data, &recipe.data.train, network.classes())?;
            return Ok((augmented_sizes(&Sampler::new(dataset, &recipe), self.seed), Some(head.anchors.clone())));
        }
        let config = DataConfig {
            root: ".".into(),
            train: self.sources.iter().cloned().map(SetConfig::kitti).collect(),
            validation: Vec::new(),
            classes: self.types.iter().map(|kind| (kind.clone(), kind.clone())).collect(),
            oversample: Default::default(),
            broken: Broken::Stop,
        };
        Ok((plain_sizes(&Dataset::load(&config, &config.train, &self.types)?, self.input), None))
    }
}

/// Thousandths of a cell are enough.
fn rounded(side: f32) -> f32 {
    ((side * 1e3).round() / 1e3).max(1e-3)
}
