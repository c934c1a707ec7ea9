//! The recipe's part about how weights become binary.

use serde::{Deserialize, Serialize};

/// How the binary layers make ±α of their latent weights; formulas in [`crate::student::binarize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Binarization {
    /// Latent weights are cut to −1..1 after every step, so that none drifts to where it has no gradient.
    pub clip: bool,
    /// Each filter's weights are brought to a mean of 0 and a variance of 1 before their signs and their scale are taken.
    pub standardise: bool,
    /// Where the scale of a filter comes from.
    pub scale: FilterScale,
}

/// Where the scale α of a binary filter comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterScale {
    /// The mean magnitude of the filter's weights (standardised ones, if they are), at any time.
    #[default]
    Mean,
    /// A weight of its own, which starts from that mean when the layer becomes binary.
    Learned,
}

impl Default for Binarization {
    fn default() -> Self {
        Self { clip: true, standardise: false, scale: FilterScale::Mean }
    }
}
