use super::*;

fn listed(prefixes: &[&str], depth: u64) -> (Vec<String>, Vec<String>) {
    let prefixes = prefixes.iter().map(|&prefix| prefix.into()).collect();
    let ListParametersResult { names, prefixes } = list(&ListParameters::Request { prefixes, depth }).result;
    (names, prefixes)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.into()).collect()
}

#[test]
fn lists_go_below_prefixes_and_as_deep_as_asked() {
    let (all, prefixes) = listed(&[], 0);
    assert_eq!(all.len(), DECLARED.len());
    assert_eq!(prefixes, ["model", "qos"]);
    let (shallow, prefixes) = listed(&[], 1);
    assert!(shallow.contains(&"threads".into()) && shallow.iter().all(|name| !name.contains('.')), "{shallow:?}");
    assert_eq!(prefixes, [""; 0]);

    let qos = ["qos.reliability", "qos.depth", "qos.durability"];
    for depth in [0, 1] {
        assert_eq!(listed(&["qos"], depth), (names(&qos), names(&["qos"])), "{depth}");
    }
    assert_eq!(listed(&["threads", "qos.depth"], 1), (names(&["threads", "qos.depth"]), names(&["qos"])));
    assert_eq!(listed(&["mod", "qos."], 0), (vec![], vec![]), "a part of a name is no prefix");
}

#[test]
fn an_answer_has_an_element_for_each_name_also_for_one_that_does_not_exist() {
    let names = names(&["nms_iou", "nothing", "threads"]);
    let values = get(&Parameters::default(), &GetParameters::Request { names: names.clone() }).values;
    let expected = [
        ParameterValue { type_: value::DOUBLE, double_value: 0.45, ..Default::default() },
        ParameterValue::default(),
        ParameterValue { type_: value::INTEGER, integer_value: 0, ..Default::default() },
    ];
    assert_eq!(values, expected);
    assert_eq!(types(&GetParameterTypes::Request { names: names.clone() }).types, [3, 0, 2]);
    let described = describe(&DescribeParameters::Request { names: names.clone() }).descriptors;
    assert_eq!(described.iter().map(|found| &found.name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    assert_eq!(described.iter().map(|found| found.type_).collect::<Vec<_>>(), [3, 0, 2]);
}
