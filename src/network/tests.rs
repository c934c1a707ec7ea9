//! Counts against the published networks, and what a bad description is told.

use super::*;

fn network(topology: Topology, input: &str) -> Network {
    let spec = NetworkSpec { input: input.parse().unwrap(), ..NetworkSpec::preset(topology) };
    spec.build().unwrap()
}

#[test]
fn parameters_equal_the_full_precision_networks() {
    // Counted from Darknet's configuration files and MobileNet's paper, for 3 classes and 5 anchors.
    let expected = [67_070_984, 50_588_936, 50_468_072];
    for (topology, expected) in Topology::ALL.into_iter().zip(expected) {
        assert_eq!(network(topology, "416x416").counts().parameters, expected, "{topology}");
    }
}

#[test]
fn operations_equal_the_published_figures() {
    let cases = [
        ("416x416", 34.87, 29.33),
        ("608x608", 74.48, 62.65),
        ("1248x384", 96.56, 81.22),
        ("1216x352", 86.24, 72.55),
        ("640x192", 24.76, 20.83),
    ];
    for (input, wide, narrow) in cases {
        for (topology, expected) in [(Topology::DarknetYolo, wide), (Topology::DarknetYolo64, narrow)] {
            let giga = network(topology, input).counts().operations as f64 / 1e9;
            assert!((giga - expected).abs() < 0.0051, "{topology} at {input}: {giga} G, expected {expected} G");
        }
    }
}

#[test]
fn packed_sizes_are_below_the_papers() {
    let bytes = |topology| network(topology, "416x416").counts().packed_bytes;
    assert!(bytes(Topology::DarknetYolo) < 8_630_000);
    assert!(bytes(Topology::MobilenetYolo) < 6_900_000);
}

#[test]
fn layers_are_numbered_as_in_darknet() {
    let narrow = network(Topology::DarknetYolo64, "416x416");
    let shape = |name: &str| narrow.shapes()[narrow.layers().iter().position(|l| l.name == name).unwrap()].to_string();
    assert_eq!(shape("conv16"), "512x26x26");
    assert_eq!(shape("conv24"), "1024x13x13");
    assert_eq!(shape("conv26"), "64x26x26");
    assert_eq!(shape("reorg27"), "256x13x13");
    assert_eq!(shape("concat28"), "1280x13x13");
    assert_eq!(shape("conv29"), "1024x13x13");
    assert_eq!(shape("prediction"), "40x13x13");
}

#[test]
fn every_network_survives_its_json() {
    for topology in Topology::ALL {
        let before = network(topology, "416x128");
        let after: Network = serde_json::from_str(&serde_json::to_string(&before).unwrap()).unwrap();
        assert_eq!(before, after);
    }
}

#[test]
fn a_bad_description_is_told_what_is_wrong() {
    let good = Description::from(network(Topology::DarknetYolo, "416x416"));
    let check = |change: &dyn Fn(&mut Description), words: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        let error = Network::new(bad).unwrap_err().to_string();
        assert!(error.contains(words), "'{error}' does not say '{words}'");
    };
    check(&|d| d.input.width = 400, "layer 17 (pool17): its input 512x26x25 does not divide");
    check(&|d| d.input.height = 0, "input: 416x0");
    check(&|d| d.input.height = usize::MAX, "input: 416x");
    check(&|d| d.classes.push("car".into()), "'car' stands twice");
    check(&|d| d.classes.truncate(2), "the last layer has 40 channels, the head reads 35");
    check(&|d| d.layers[3].inputs[0] = Source::Layer(3), "layer 3 (pool3): reads layer 3, which does not come before it");
    check(&|d| d.layers[4].name = "conv2".into(), "another layer has this name");
    check(&|d| d.layers.clear(), "layers: 0 of them");
    check(&|d| d.layers[0].inputs.clear(), "reads 0 inputs, must read one");
    let convolution = |d: &mut Description, change: &dyn Fn(&mut Convolution)| match &mut d.layers[2].operation {
        Operation::Convolution(c) => change(c),
        _ => unreachable!("layer 2 is a convolution"),
    };
    check(&|d| convolution(d, &|c| c.filters = usize::MAX), "layer 2 (conv2): its output would be");
    check(&|d| convolution(d, &|c| c.filters = 0), "layer 2 (conv2): its output would be 0x");
    check(&|d| convolution(d, &|c| c.kernel = 5), "1x1 and 3x3 are possible");
    check(&|d| convolution(d, &|c| c.stride = 0), "a stride of 0");
    let Head::Region(region) = &good.head;
    for anchors in [vec![], vec![Anchor(0.0, 1.0)], vec![Anchor(1.0, f32::NAN)]] {
        assert_ne!(region.anchors, anchors);
        check(&|d| d.head = Head::Region(RegionHead { anchors: anchors.clone() }), "anchors: ");
    }
}

#[test]
fn a_spec_reads_yaml_and_refuses_what_it_does_not_know() {
    let spec: NetworkSpec = serde_yaml::from_str(
        "topology: darknet-yolo-64\nwidth: 0.125\ninput: 64x64\nclasses: [car]\nanchors: [[1, 1], [2, 1.5]]\n",
    )
    .unwrap();
    let network = spec.build().unwrap();
    assert_eq!(network.output_shape(), Shape { channels: 12, height: 2, width: 2 });
    assert_eq!(network.shapes()[0].channels, 8, "never fewer than 8 filters");
    for (yaml, words) in [
        ("topology: yolo", "unknown variant `yolo`"),
        ("topology: darknet-yolo\nwidht: 1", "unknown field `widht`"),
        ("topology: darknet-yolo\ninput: 416", "is not WIDTHxHEIGHT"),
    ] {
        let error = serde_yaml::from_str::<NetworkSpec>(yaml).unwrap_err().to_string();
        assert!(error.contains(words), "'{error}' does not say '{words}'");
    }
    let error = NetworkSpec { width: f64::NAN, ..spec }.build().unwrap_err();
    assert_eq!(error.to_string(), "width: NaN is not above 0 and at most 4");
}

#[test]
fn a_spec_keeps_named_layers_in_full_precision() {
    let all = NetworkSpec::preset(Topology::MobilenetYolo);
    let some = NetworkSpec { full_precision: vec!["pointwise1".into(), "head1".into()], ..all.clone() };
    let [all, some] = [all, some.clone()].map(|spec| spec.build().unwrap());
    let kept: Vec<_> = all.binary_layers().filter(|name| !some.binary_layers().any(|binary| binary == *name)).collect();
    assert_eq!(kept, ["pointwise1", "head1"]);
    assert_eq!(all.in_full_precision(), some.in_full_precision());
    let wrong = NetworkSpec { full_precision: vec!["conv0".into()], ..NetworkSpec::preset(Topology::DarknetYolo) };
    let error = wrong.build().unwrap_err().to_string();
    assert!(error.starts_with("full_precision: 'conv0' is not one of the binary convolutions conv2, conv4, "), "{error}");
}
