use super::*;
use ParameterValue::{Bool, BoolArray, Double, DoubleArray, Integer, IntegerArray, NotSet, String as Text};

fn given(values: &[(&str, ParameterValue)]) -> IndexMap<String, Parameter> {
    values.iter().map(|(name, value)| (name.to_string(), Parameter::new(value.clone()))).collect()
}

fn loaded(values: &[(&str, ParameterValue)]) -> Result<Parameters, ParameterError> {
    let mut parameters = Parameters::default();
    parameters.load(&mut given(values)).map(|_| parameters)
}

fn text(value: &str) -> ParameterValue {
    Text(value.into())
}

/// Each declared parameter with a value that is not the default.
fn others() -> [(&'static str, ParameterValue); 12] {
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
    ]
}

#[test]
fn every_parameter_is_declared_read_and_set() {
    let mut parameters = loaded(&others()).unwrap();
    let mut listed = IndexMap::new();
    parameters.register_parameters("", None, &mut listed).unwrap();
    assert_eq!(listed.len(), DECLARED.len());
    for (name, value) in others() {
        assert_eq!(listed[name].value, value, "{name}");
        assert!(!listed[name].description.is_empty(), "{name}");
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
    assert_eq!(names, DECLARED.map(|declared| declared.name));
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
fn names_that_do_not_exist_are_reported_and_taken_away() {
    let mut parameters = Parameters::default();
    let values = [("score_treshold", Double(0.9)), ("use_sim_time", Bool(true)), ("model.file", text("x"))];
    let mut given = given(&values);
    let unknown = parameters.load(&mut given).unwrap();
    assert_eq!(unknown, [("score_treshold".into(), "score_threshold"), ("model.file".into(), "model.mode")]);
    assert_eq!(given.keys().collect::<Vec<_>>(), ["use_sim_time"]);
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
        let checked = parameters.check_parameter(name, &value).map_err(|error| error.to_string());
        assert_eq!(parameters.get(name), before, "checking {name} changes nothing");
        let outcome = parameters.set_parameter(name, &value).map_err(|error| error.to_string());
        assert_eq!(outcome, checked);
        match name {
            "score_threshold" | "class_thresholds" | "nms_iou" | "max_detections" => {
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
