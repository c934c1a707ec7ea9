//! Where every feature map lives: concatenations joined in place, memory reused by lifetime. What only exists pooled
//! stands in the map of its pool.

use super::{
    layout::{Buffer, Element, Layout, Map},
    memory::Memory,
};
use crate::network::{Depthwise, Network, Operation, Shape, Source};
use std::ops::RangeInclusive;

/// A place for each feature map of a network.
pub(super) struct Placement {
    /// The input image's.
    pub(super) image: Map,
    /// Each layer's output.
    pub(super) layers: Vec<Map>,
    /// Where each layer's scratch starts, in bytes.
    pub(super) scratch: Vec<usize>,
    /// Size of the memory that they share.
    pub(super) bytes: usize,
    /// For each layer, the concatenation or pool in whose map it stands, and its first channel there.
    homes: Vec<Option<(usize, usize)>>,
}

/// What needs a place.
#[derive(Clone, Copy)]
pub(super) struct Buffers<'a> {
    pub(super) layout: Layout,
    pub(super) image: Element,
    /// What the values of each layer are.
    pub(super) elements: &'a [Element],
    /// Bytes that each layer needs besides its maps while it runs.
    pub(super) scratch: &'a [usize],
}

/// What shares one buffer: a layer (its `root`) and the layers that stand in its map.
struct Group {
    /// `None` for the image, which stands alone.
    root: Option<usize>,
    buffer: Buffer,
    /// From the layer that first writes to the layer that last reads.
    lifetime: RangeInclusive<usize>,
}

/// Some memory and the layers that need it.
struct Piece {
    bytes: usize,
    lifetime: RangeInclusive<usize>,
}

impl Placement {
    /// Plans the memory. `pools` says which layers only exist in which pool; with `keep` no layer's memory is reused.
    pub(super) fn new(network: &Network, buffers: Buffers<'_>, pools: &[Option<usize>], keep: bool) -> Self {
        let homes = homes(network, pools);
        let roots: Vec<_> = (0..homes.len()).map(|layer| root(&homes, layer)).collect();
        let groups = groups(network, buffers, &roots, keep);
        let maps = groups.iter().map(|group| Piece { bytes: group.buffer.bytes(), lifetime: group.lifetime.clone() });
        let scratch = buffers.scratch.iter().enumerate().map(|(layer, &bytes)| Piece { bytes, lifetime: layer..=layer });
        let (mut offsets, bytes) = allocate(&maps.chain(scratch).collect::<Vec<_>>());
        let scratch = offsets.split_off(groups.len());

        let place = |root| {
            let group = groups.iter().position(|g| g.root == root).expect("every root has a group");
            groups[group].buffer.map(offsets[group])
        };
        let layer = |(index, &(root, first)): (usize, &(usize, usize))| {
            let map = place(Some(root)).channels(first, network.shapes()[index].channels);
            map.with_element(buffers.elements[index])
        };
        let layers = roots.iter().enumerate().map(layer).collect();
        Self { image: place(None), layers, scratch, bytes, homes }
    }

    /// Where a layer reads.
    pub(super) fn source(&self, source: Source) -> &Map {
        match source {
            Source::Image => &self.image,
            Source::Layer(index) => &self.layers[index],
        }
    }

    /// Does this input of a concatenation stand in its map already, from this channel on?
    pub(super) fn is_joined(&self, source: Source, concat: usize, first: usize) -> bool {
        matches!(source, Source::Layer(index) if self.homes[index] == Some((concat, first)))
    }
}

/// A layer's pool, or the first concatenation that reads it, becomes its home; any further one has to copy.
fn homes(network: &Network, pools: &[Option<usize>]) -> Vec<Option<(usize, usize)>> {
    let mut homes: Vec<_> = pools.iter().map(|pool| pool.map(|pool| (pool, 0))).collect();
    for (concat, layer) in network.layers().iter().enumerate() {
        if layer.operation != Operation::Concat {
            continue;
        }
        let mut first = 0;
        for &source in &layer.inputs {
            if let Source::Layer(index) = source {
                homes[index].get_or_insert((concat, first));
            }
            first += network.source_shape(source).channels;
        }
    }
    homes
}

/// The layer whose buffer holds this one, and its first channel there.
fn root(homes: &[Option<(usize, usize)>], layer: usize) -> (usize, usize) {
    match homes[layer] {
        None => (layer, 0),
        Some((concat, first)) => {
            let (root, offset) = root(homes, concat);
            (root, offset + first)
        }
    }
}

fn groups(network: &Network, buffers: Buffers<'_>, roots: &[(usize, usize)], keep: bool) -> Vec<Group> {
    let Buffers { layout, image, elements, .. } = buffers;
    let last = roots.len() - 1;
    let group = |root: Option<usize>, shape: Shape, element: Element| {
        let members: Vec<Source> = match root {
            None => vec![Source::Image],
            Some(root) => (0..=last).filter(|&layer| roots[layer].0 == root).map(Source::Layer).collect(),
        };
        let reads = |index: &usize| members.iter().any(|member| network.layers()[*index].inputs.contains(member));
        let readers: Vec<usize> = (0..=last).filter(reads).collect();
        let border = readers.iter().any(|&index| reads_border(&network.layers()[index].operation));
        // The image is written from outside, at any time; the last layer is read after the run.
        let lifetime = match root {
            Some(root) if !keep && root != last => {
                let first = roots.iter().position(|r| r.0 == root).expect("a root is its own member");
                first..=readers.last().map_or(root, |&reader| reader.max(root))
            }
            _ => 0..=last,
        };
        Group { root, buffer: Buffer { shape, element, layout, border: usize::from(border) }, lifetime }
    };
    let layers = (0..=last).filter(|&layer| roots[layer].0 == layer);
    let layers = layers.map(|root| group(Some(root), network.shapes()[root], elements[root]));
    std::iter::once(group(None, network.input_shape(), image)).chain(layers).collect()
}

fn reads_border(operation: &Operation) -> bool {
    match operation {
        Operation::Convolution(c) => c.kernel > 1,
        Operation::Depthwise(_) => Depthwise::KERNEL > 1,
        Operation::MaxPool | Operation::SpaceToDepth { .. } | Operation::Concat => false,
    }
}

/// Gives each piece an offset, the largest first, each as low as those that live at the same time allow.
fn allocate(pieces: &[Piece]) -> (Vec<usize>, usize) {
    let size = |piece: &Piece| piece.bytes.next_multiple_of(Memory::ALIGNMENT);
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by_key(|&p| std::cmp::Reverse(size(&pieces[p])));

    let mut offsets = vec![0; pieces.len()];
    let mut placed: Vec<usize> = Vec::new(); // by offset
    for &p in &order {
        let mut offset = 0;
        for &other in placed.iter().filter(|&&other| overlap(&pieces[p].lifetime, &pieces[other].lifetime)) {
            if offset + size(&pieces[p]) <= offsets[other] {
                break;
            }
            offset = offset.max(offsets[other] + size(&pieces[other]));
        }
        offsets[p] = offset;
        placed.insert(placed.partition_point(|&other| offsets[other] <= offset), p);
    }
    let end = (0..pieces.len()).map(|p| offsets[p] + size(&pieces[p])).max().unwrap_or(0);
    (offsets, end)
}

fn overlap(a: &RangeInclusive<usize>, b: &RangeInclusive<usize>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::plan::pools,
        network::{NetworkSpec, Topology},
    };

    /// Bytes of every layer's scratch.
    const SCRATCH: usize = 1000;

    fn place(topology: Topology, keep: bool) -> (Network, Placement) {
        let network = NetworkSpec::preset(topology).build().unwrap();
        let pools = vec![None; network.layers().len()];
        let placement = place_with(&network, &pools, keep);
        (network, placement)
    }

    fn place_with(network: &Network, pools: &[Option<usize>], keep: bool) -> Placement {
        let byte = Element::Byte { zero_point: 7 };
        let (elements, scratch) = (vec![byte; pools.len()], vec![SCRATCH; pools.len()]);
        let buffers = Buffers { layout: Layout::Interleaved, image: byte, elements: &elements, scratch: &scratch };
        Placement::new(network, buffers, pools, keep)
    }

    #[test]
    fn joined_layers_stand_in_the_map_that_joins_them() {
        let (network, placement) = place(Topology::DarknetYolo, false);
        let index = |name: &str| network.layers().iter().position(|l| l.name == name).unwrap();
        let (reorg, coarse, joined) = (index("reorg26"), index("conv24"), index("concat27"));
        let at = |layer: usize, channel| placement.layers[layer].at(channel, 3, 4);
        assert_eq!(at(reorg, 5), at(joined, 5));
        assert_eq!(at(coarse, 5), at(joined, 2048 + 5));
        assert!(placement.is_joined(Source::Layer(coarse), joined, 2048));
    }

    #[test]
    fn memory_is_reused() {
        let (network, placement) = place(Topology::DarknetYolo, false);
        let all: usize = network.shapes().iter().map(|shape| shape.values()).sum();
        // Image, the first layer's output and the first pool's live at the same time; little else may be added.
        let needed = network.input_shape().values() + network.shapes()[0].values() + network.shapes()[1].values();
        assert!(placement.bytes < needed + needed / 20, "{} bytes, {needed} are needed", placement.bytes);
        assert!(place(Topology::DarknetYolo, true).1.bytes > all);
    }

    #[test]
    fn what_lives_at_the_same_time_does_not_overlap() {
        for topology in Topology::ALL {
            let (network, placement) = place(topology, false);
            check_overlaps(&network, &placement, &[]);
            let pools = pools(&network);
            check_overlaps(&network, &place_with(&network, &pools, false), &pools);
        }
    }

    fn check_overlaps(network: &Network, placement: &Placement, pools: &[Option<usize>]) {
        for (index, layer) in network.layers().iter().enumerate() {
            if layer.operation == Operation::Concat || pools.contains(&Some(index)) {
                continue; // reads where it stands
            }
            let span = |map: &Map| {
                let (h, w) = (map.shape.height as isize, map.shape.width as isize);
                let border = map.border as isize;
                map.at(0, -border, -border)..=map.at(map.shape.channels - 1, h - 1 + border, w - 1 + border)
            };
            let (from, to) = (span(placement.source(layer.inputs[0])), span(&placement.layers[index]));
            assert!(!overlap(&from, &to), "{}: {} overwrites what it reads", network.name(), layer.name);
            let scratch = placement.scratch[index]..=placement.scratch[index] + SCRATCH - 1;
            assert!(!overlap(&from, &scratch) && !overlap(&to, &scratch), "{}: {}'s scratch", network.name(), layer.name);
        }
    }

    #[test]
    fn what_only_exists_pooled_stands_in_its_pool() {
        let (network, unpooled) = place(Topology::DarknetYolo, false);
        let pools = pools(&network);
        let placement = place_with(&network, &pools, false);
        let named: Vec<_> = (0..pools.len()).filter(|&i| pools[i].is_some()).map(|i| &*network.layers()[i].name).collect();
        // The last pool's input is joined with others.
        assert_eq!(named, ["conv0", "conv2", "conv6", "conv10"]);
        assert_eq!(placement.layers[0].at(5, 3, 4), placement.layers[1].at(5, 3, 4));
        assert_eq!(placement.layers[0].shape, network.shapes()[1]);
        assert!(placement.bytes < unpooled.bytes / 2);
    }
}
