use super::{
    declaration::edit_distance,
    value::{from_message, to_message},
    *,
};
use ParameterValue::{Bool, BoolArray, Double, DoubleArray, Integer, IntegerArray, NotSet, String as Text};

fn given(values: &[(&str, ParameterValue)]) -> IndexMap<String, Parameter> {
    values.iter().map(|(name, value)| (name.to_string(), Parameter::new(value.clone()))).collect()
}

fn loaded(values: &[(&str, ParameterValue)]) -> Result<Parameters, ParameterError> {
    let mut parameters = Parameters::default();
    parameters.load(&given(values), &[]).map(|_| parameters)
}

fn text(value: &str) -> ParameterValue {
    Text(value.into())
}

/// Each declared parameter with a value that is not the default.
fn others() -> [(&'static str, ParameterValue); 13] {
    [
        ("model.path", text("m.safetensors")),
        ("model.mode", text("f32")),
        ("model.kernel", text("portable")),
        ("threads", Integer(3)),
        ("score_threshold", Double(0.25)),
        ("class_thresholds", DoubleArray(vec![0.1, 0.5, 1.0])),
        ("nms_iou", Double(0.7)),
        ("max_detections", Integer(7)),
        ("image_transport", text("compressed")),
        ("qos.reliability", text("reliable")),
        ("qos.depth", Integer(5)),
        ("qos.durability", text("transient_local")),
        ("use_sim_time", Bool(true)),
    ]
}

#[test]
fn every_parameter_is_declared_read_and_set() {
    let parameters = loaded(&others()).unwrap();
    assert_eq!(others().map(|(name, _)| name), DECLARED.each_ref().map(|declared| declared.name));
    for (name, value) in others() {
        assert_eq!(parameters.get(name).as_ref(), Some(&value), "{name}");
        assert_ne!(Parameters::default().get(name), Some(value), "{name}");
    }
    assert_eq!(
        parameters.engine_options(),
        engine::Options { mode: Mode::F32, threads: 3, kernel: Some("portable".into()), keep_layers: false }
    );
    let expected = DetectorOptions {
        score_threshold: 0.25,
        class_thresholds: Some(vec![0.1, 0.5, 1.0]),
        nms_iou: 0.7,
        max_detections: 7,
    };
    assert_eq!(parameters.detector_options(), expected);
    assert_eq!(parameters.qos(), QosProfile::sensor_data().keep_last(5).reliable().transient_local());
}

#[test]
fn without_a_file_the_defaults_are_those_of_engine_detector_and_sensors() {
    let parameters = Parameters::default();
    assert_eq!(parameters.engine_options(), engine::Options::default());
    assert_eq!(parameters.detector_options(), DetectorOptions::default());
    assert_eq!(parameters.qos(), QosProfile::sensor_data().keep_last(1));
    assert_eq!(parameters.get("nms_iou"), Some(Double(0.45)));
}

/// The file that is installed has every parameter at its default, so that it documents and changes nothing.
#[test]
fn the_installed_file_has_every_parameter_at_its_default() {
    let file: serde_yaml::Value = serde_yaml::from_str(include_str!("../../../config/detector.yaml")).unwrap();
    let mut found = IndexMap::new();
    flatten("", &file["/**"]["ros__parameters"], &mut found);
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    let ours = DECLARED.iter().map(|declared| declared.name).filter(|&name| name != "use_sim_time");
    assert_eq!(names, ours.collect::<Vec<_>>());
    for (name, value) in &found {
        assert_eq!(Parameters::default().get(name).as_ref(), Some(value), "{name}");
    }
}

fn flatten(prefix: &str, value: &serde_yaml::Value, found: &mut IndexMap<String, ParameterValue>) {
    use serde_yaml::Value;
    let value = match value {
        Value::Mapping(entries) => {
            for (key, value) in entries {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{}", key.as_str().unwrap()), value, found);
            }
            return;
        }
        Value::String(value) => text(value),
        Value::Number(value) => value.as_i64().map_or_else(|| Double(value.as_f64().unwrap()), Integer),
        Value::Sequence(values) => DoubleArray(values.iter().map(|value| value.as_f64().unwrap()).collect()),
        other => panic!("{other:?}"),
    };
    found.insert(prefix.into(), value);
}

#[test]
fn wrong_values_are_named_with_what_would_be_right() {
    for (name, value, message) in [
        ("model.path", Integer(1), "must be the path of a model file, or empty; it is the integer 1"),
        ("model.mode", text("int4"), "must be 'int8' or 'f32'; it is 'int4'"),
        ("model.mode", Integer(8), "must be 'int8' or 'f32'; it is the integer 8"),
        ("use_sim_time", Integer(1), "must be true or false; it is the integer 1"),
        ("model.kernel", Bool(true), "must be the name of a kernel, or empty; it is the truth value true"),
        ("threads", Integer(257), "must be an integer from 0 to 256; it is the integer 257"),
        ("threads", Integer(-1), "must be an integer from 0 to 256; it is the integer -1"),
        ("threads", Double(2.0), "must be an integer from 0 to 256; it is 2.0"),
        ("score_threshold", Double(1.5), "must be a number from 0.0 to 1.0, written with its point; it is 1.5"),
        ("score_threshold", Double(f64::NAN), "must be a number from 0.0 to 1.0, written with its point; it is NaN"),
        ("score_threshold", Integer(1), "must be a number from 0.0 to 1.0, written with its point; it is the integer 1"),
        ("nms_iou", text("0.5"), "must be a number from 0.0 to 1.0, written with its point; it is '0.5'"),
        ("max_detections", Integer(0), "must be an integer from 1 to 1000; it is the integer 0"),
        ("max_detections", Integer(1001), "must be an integer from 1 to 1000; it is the integer 1001"),
        ("image_transport", text("theora"), "must be 'raw' or 'compressed'; it is 'theora'"),
        ("qos.reliability", text("besteffort"), "must be 'best_effort' or 'reliable'; it is 'besteffort'"),
        ("qos.depth", Integer(0), "must be an integer from 1 to 1000; it is the integer 0"),
        ("qos.durability", NotSet, "must be 'volatile' or 'transient_local'; it is not set"),
        (
            "class_thresholds",
            DoubleArray(vec![0.5, 1.5]),
            "must be empty, or one number from 0.0 to 1.0, written with its point, for each class of the model; \
             it is [0.5, 1.5]",
        ),
    ] {
        let error = loaded(&[(name, value)]).unwrap_err();
        assert_eq!(error.to_string(), format!("parameter {name} {message}"));
    }
}

#[test]
fn an_empty_list_has_any_type() {
    for empty in [NotSet, BoolArray(vec![]), IntegerArray(vec![]), DoubleArray(vec![])] {
        assert!(loaded(&[("class_thresholds", empty)]).unwrap().class_thresholds.is_empty());
    }
    assert!(loaded(&[("class_thresholds", IntegerArray(vec![1]))]).is_err());
}

#[test]
fn class_thresholds_must_fit_the_model() {
    let mut parameters = loaded(&[("class_thresholds", DoubleArray(vec![0.5; 2]))]).unwrap();
    let error = parameters.start(3).unwrap_err().to_string();
    assert!(error.contains("parameter class_thresholds must be") && error.contains("3 classes"), "{error}");

    let mut parameters = Parameters::default();
    parameters.start(3).unwrap();
    assert!(parameters.set("class_thresholds", &DoubleArray(vec![0.5; 2])).is_err());
    parameters.set("class_thresholds", &DoubleArray(vec![0.5; 3])).unwrap();
    parameters.set("class_thresholds", &BoolArray(vec![])).unwrap();
    assert_eq!(parameters.detector_options().class_thresholds, None);
}

#[test]
fn names_that_do_not_exist_are_reported() {
    let mut parameters = Parameters::default();
    let values = [("score_treshold", Double(0.9)), ("threads", Integer(2)), ("model.file", text("x"))];
    let unknown = parameters.load(&given(&values), &[]).unwrap();
    assert_eq!(unknown, [("score_treshold".into(), "score_threshold"), ("model.file".into(), "model.mode")]);
    assert_eq!(parameters.get("threads"), Some(Integer(2)));
    assert_eq!(
        parameters.set("nms.iou", &Double(0.5)).unwrap_err().to_string(),
        "parameter nms.iou does not exist; the nearest name is nms_iou"
    );
}

#[test]
fn edit_distances() {
    for (from, to, distance) in [("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("same", "same", 0)] {
        assert_eq!(edit_distance(from, to), distance, "{from} {to}");
    }
}

#[test]
fn while_the_node_runs_only_what_is_live_changes() {
    let mut parameters = Parameters::default();
    parameters.start(3).unwrap();
    for (name, value) in others() {
        let before = parameters.get(name);
        let outcome = parameters.set(name, &value).map_err(|error| error.to_string());
        match name {
            "score_threshold" | "class_thresholds" | "nms_iou" | "max_detections" | "use_sim_time" => {
                assert_eq!(outcome, Ok(()));
                assert_eq!(parameters.get(name), Some(value));
            }
            _ => {
                let message = outcome.unwrap_err();
                assert!(message.contains(name) && message.contains("read at the start only"), "{message}");
                assert_eq!(parameters.get(name), before);
                // Its own value again is no change.
                parameters.set(name, &before.unwrap()).unwrap();
            }
        }
    }
}

#[test]
fn a_refused_value_leaves_the_old_one() {
    let mut parameters = Parameters::default();
    parameters.start(3).unwrap();
    parameters.set("score_threshold", &Double(0.25)).unwrap();
    parameters.set("score_threshold", &Double(2.0)).unwrap_err();
    assert_eq!(parameters.get("score_threshold"), Some(Double(0.25)));
}

#[test]
fn several_are_set_together_or_not_at_all() {
    let mut parameters = Parameters::default();
    parameters.start(3).unwrap();
    let set = |parameters: &mut Parameters, values: &[(&str, ParameterValue)]| {
        let values: Vec<_> = values.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        parameters.set_all(&values).map_err(|error| error.to_string())
    };
    let changed = set(&mut parameters, &[("nms_iou", Double(0.6)), ("threads", Integer(0)), ("nms_iou", Double(0.7))]);
    assert_eq!(changed, Ok(vec![("nms_iou", Double(0.7))]));

    let refused = set(&mut parameters, &[("nms_iou", Double(0.1)), ("max_detections", Integer(0))]).unwrap_err();
    assert_eq!(refused, "parameter max_detections must be an integer from 1 to 1000; it is the integer 0");
    assert_eq!(parameters.get("nms_iou"), Some(Double(0.7)));
}

#[test]
fn values_of_several_types_are_refused() {
    let contradictory = ["threads".to_string()];
    let error = Parameters::default().load(&given(&[("threads", Integer(0))]), &contradictory).unwrap_err();
    let message =
        "parameter threads must be an integer from 0 to 256; files and command line give it values of different types";
    assert_eq!(error.to_string(), message);
}

/// The ends of each range can be set, what lies just outside cannot: a descriptor says what the checks do.
#[test]
fn descriptors_have_the_ranges_of_the_checks() {
    let mut bounded = Vec::new();
    for declared in &DECLARED {
        let descriptor = declared.descriptor();
        assert!(descriptor.description.len() > 20, "{}", declared.name);
        let accepts = |value| Parameters::default().set(declared.name, &value).is_ok();
        for range in &descriptor.integer_range {
            assert!(accepts(Integer(range.from_value)) && accepts(Integer(range.to_value)), "{}", declared.name);
            assert!(!accepts(Integer(range.from_value - 1)) && !accepts(Integer(range.to_value + 1)), "{}", declared.name);
            assert_eq!(range.step, 1);
            bounded.push((declared.name, range.from_value as f64, range.to_value as f64));
        }
        for range in &descriptor.floating_point_range {
            let of = |number| if descriptor.type_ == value::DOUBLE { Double(number) } else { DoubleArray(vec![number]) };
            assert!(accepts(of(range.from_value)) && accepts(of(range.to_value)), "{}", declared.name);
            assert!(
                !accepts(of(range.from_value.next_down())) && !accepts(of(range.to_value.next_up())),
                "{}",
                declared.name
            );
            assert_eq!(range.step, 0.0);
            bounded.push((declared.name, range.from_value, range.to_value));
        }
    }
    let expected = [
        ("threads", 0.0, 256.0),
        ("score_threshold", 0.0, 1.0),
        ("class_thresholds", 0.0, 1.0),
        ("nms_iou", 0.0, 1.0),
        ("max_detections", 1.0, 1000.0),
        ("qos.depth", 1.0, 1000.0),
    ];
    assert_eq!(bounded, expected);
}

#[test]
fn descriptors_say_type_constraints_and_what_is_read_at_the_start() {
    for (name, kind, constraints, read_only) in [
        ("model.path", value::STRING, "the path of a model file, or empty", true),
        ("model.mode", value::STRING, "'int8' or 'f32'", true),
        ("threads", value::INTEGER, "", true),
        ("nms_iou", value::DOUBLE, "", false),
        (
            "class_thresholds",
            value::DOUBLE_ARRAY,
            "empty, or one number from 0.0 to 1.0, written with its point, for each class of the model",
            false,
        ),
        ("use_sim_time", value::BOOL, "", false),
    ] {
        let descriptor = declaration(name).unwrap().descriptor();
        assert_eq!((descriptor.name.as_str(), descriptor.type_), (name, kind));
        assert_eq!(descriptor.additional_constraints, constraints, "{name}");
        assert_eq!((descriptor.read_only, descriptor.dynamic_typing), (read_only, false), "{name}");
    }
}

#[test]
fn a_value_is_the_same_after_a_message() {
    for (name, value) in others() {
        let message = to_message(value.clone());
        assert_eq!(message.type_, declaration(name).unwrap().descriptor().type_, "{name}");
        assert_eq!(from_message(&message), value, "{name}");
    }
}
