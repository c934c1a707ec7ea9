//! Parameters to which files and command line give values of different types.
//!
//! rcl replaces a value only by one of the same type. One of another type is kept beside it, and ROS clients get the first
//! in an order of types: `-p threads:=many` over `threads: 0` in a file would be lost without a word. So files and arguments
//! are read here once more, one by one.

use crate::node::error::NodeError;
use r2r_rcl::{
    RCL_RET_OK, rcl_arguments_fini, rcl_arguments_get_param_overrides, rcl_arguments_t, rcl_get_zero_initialized_arguments,
    rcl_params_t, rcl_parse_arguments, rcl_ret_t, rcl_variant_t, rcl_yaml_node_struct_fini, rcutils_get_default_allocator,
    rcutils_get_error_string, rcutils_reset_error,
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString, c_char, c_int},
    ptr, slice,
};

/// The names of the parameters to which the arguments and the files named there give values of different types, for the
/// node of that name and that full name.
///
/// # Errors
/// If ROS cannot read the arguments.
pub(in crate::node) fn contradictory(arguments: &[String], name: &str, full_name: &str) -> Result<Vec<String>, NodeError> {
    // The patterns that r2r knows.
    let ours = |node: &str| ["/**", "**", name, full_name].contains(&node);
    let mut first_types = HashMap::new();
    let mut contradictory = Vec::new();
    for source in sources(arguments) {
        let overrides = Overrides::parse(&source)?;
        for (node, parameter, value) in overrides.values().filter(|(node, ..)| ours(node)) {
            // An empty list has none.
            let Some(found) = type_of(value) else { continue };
            if *first_types.entry((node, parameter.clone())).or_insert(found) != found {
                contradictory.push(parameter);
            }
        }
    }
    Ok(contradictory)
}

/// The arguments that set parameters, each by itself, as a command line.
fn sources(arguments: &[String]) -> Vec<[&str; 3]> {
    const START: &str = "--ros-args";
    let mut of_ros = false;
    let mut sources = Vec::new();
    for pair in arguments.windows(2) {
        match pair[0].as_str() {
            START => of_ros = true,
            "--" => of_ros = false,
            flag @ ("-p" | "--param" | "--params-file") if of_ros => sources.push([START, flag, &pair[1]]),
            _ => (),
        }
    }
    sources
}

/// A number for the type of the value, if it has one.
fn type_of(value: &rcl_variant_t) -> Option<usize> {
    let absent = [
        value.bool_value.is_null(),
        value.integer_value.is_null(),
        value.double_value.is_null(),
        value.string_value.is_null(),
        value.byte_array_value.is_null(),
        value.bool_array_value.is_null(),
        value.integer_array_value.is_null(),
        value.double_array_value.is_null(),
        value.string_array_value.is_null(),
    ];
    absent.iter().position(|absent| !absent)
}

/// The parameters of arguments, as rcl holds them: null if there are none.
struct Overrides(*mut rcl_params_t);

impl Overrides {
    fn parse(arguments: &[&str; 3]) -> Result<Self, NodeError> {
        let arguments = arguments.map(|argument| CString::new(argument).expect("a zero byte ends an argument"));
        let pointers = arguments.each_ref().map(|argument| argument.as_ptr());
        let count = pointers.len() as c_int;

        // SAFETY: there are `count` pointers to strings that live until the end of this function; rcl copies them.
        let parsed = unsafe {
            let mut parsed = rcl_get_zero_initialized_arguments();
            let allocator = rcutils_get_default_allocator();
            checked(rcl_parse_arguments(count, pointers.as_ptr(), allocator, &mut parsed))?;
            Arguments(parsed)
        };
        let mut overrides = Self(ptr::null_mut());
        // SAFETY: the arguments were parsed; rcl writes null or a copy of their parameters, which is `Self`'s to free.
        checked(unsafe { rcl_arguments_get_param_overrides(&parsed.0, &mut overrides.0) })?;
        Ok(overrides)
    }

    /// Name of the node, name of the parameter, value.
    fn values(&self) -> impl Iterator<Item = (String, String, &rcl_variant_t)> {
        // SAFETY: null, or rcl's own until `self` goes.
        let all = unsafe { self.0.as_ref() };
        all.into_iter().flat_map(|all| {
            // SAFETY: rcl's arrays of nodes have `num_nodes` elements, and live as long as `self`.
            let (names, nodes) = unsafe { (elements(all.node_names, all.num_nodes), elements(all.params, all.num_nodes)) };
            names.iter().zip(nodes).flat_map(|(&node, of_node)| {
                // SAFETY: as above, with `num_params`.
                let (names, values) = unsafe {
                    (
                        elements(of_node.parameter_names, of_node.num_params),
                        elements(of_node.parameter_values, of_node.num_params),
                    )
                };
                // SAFETY: names are strings that end with a zero byte.
                names.iter().zip(values).map(move |(&name, value)| unsafe { (text(node), text(name), value) })
            })
        })
    }
}

impl Drop for Overrides {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: rcl made it for the caller of `rcl_arguments_get_param_overrides`, and nobody else frees it.
            unsafe { rcl_yaml_node_struct_fini(self.0) };
        }
    }
}

/// Parsed arguments.
struct Arguments(rcl_arguments_t);

impl Drop for Arguments {
    fn drop(&mut self) {
        // SAFETY: they were parsed, and nobody else frees them. The outcome would be an error for arguments not parsed.
        unsafe { rcl_arguments_fini(&mut self.0) };
    }
}

/// What rcl says about a call that did not succeed.
fn checked(outcome: rcl_ret_t) -> Result<(), NodeError> {
    if outcome == RCL_RET_OK as rcl_ret_t {
        return Ok(());
    }
    // SAFETY: rcl's message of this thread, an array that holds a string with a zero byte at its end.
    let message = unsafe {
        let message = text(rcutils_get_error_string().str_.as_ptr());
        rcutils_reset_error();
        message
    };
    Err(NodeError::Arguments(message))
}

/// # Safety
/// `start` is null or points to `count` elements that live as long as `'a`.
unsafe fn elements<'a, T>(start: *const T, count: usize) -> &'a [T] {
    // SAFETY: the caller's.
    if start.is_null() { &[] } else { unsafe { slice::from_raw_parts(start, count) } }
}

/// # Safety
/// `start` points to a string that ends with a zero byte.
unsafe fn text(start: *const c_char) -> String {
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What is found in files and arguments, for the node /front/camera.
    fn found(files: &[&str], arguments: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let mut all = vec!["detector_node".to_string(), "--ros-args".into()];
        for (index, file) in files.iter().enumerate() {
            let path = folder.path().join(format!("{index}.yaml"));
            fs::write(&path, file).unwrap();
            all.extend(["--params-file".into(), path.to_str().unwrap().into()]);
        }
        all.extend(arguments.iter().map(|&argument| argument.into()));
        contradictory(&all, "camera", "/front/camera").unwrap()
    }

    #[test]
    fn a_value_of_another_type_than_the_file_s_is_found() {
        let file = "/**:\n  ros__parameters: {threads: 0, nms_iou: 0.5, qos: {depth: 1}, list: [], model: {mode: f32}}\n";
        for (argument, name) in [
            ("threads:=many", "threads"),
            ("threads:=2.0", "threads"),
            ("threads:=true", "threads"),
            ("threads:=[1]", "threads"),
            ("nms_iou:=1", "nms_iou"),
            ("qos.depth:=deep", "qos.depth"),
            ("model.mode:=8", "model.mode"),
        ] {
            assert_eq!(found(&[file], &["-p", argument]), [name], "{argument}");
        }
        for argument in ["threads:=2", "nms_iou:=0.7", "list:=[0.5, 0.5]", "model.mode:=int8", "more:=1"] {
            assert_eq!(found(&[file], &["-p", argument]), [""; 0], "{argument}");
        }
        assert_eq!(found(&[file], &["-p", "threads:=a", "-p", "nms_iou:=b"]), ["threads", "nms_iou"]);
        assert_eq!(found(&[], &["-p", "threads:=1", "-p", "threads:=x"]), ["threads"]);
    }

    #[test]
    fn what_is_for_other_nodes_does_not_count() {
        for (node, counts) in [("camera", true), ("/front/camera", true), ("lidar", false), ("/camera", false)] {
            let files = ["0", "many"].map(|value| format!("{node}:\n  ros__parameters: {{threads: {value}}}\n"));
            assert_eq!(!found(&[&files[0], &files[1]], &[]).is_empty(), counts, "{node}");
        }
    }

    #[test]
    fn without_parameters_there_is_nothing() {
        let arguments = ["detector_node", "--ros-args", "-r", "image:=/camera"].map(String::from);
        assert_eq!(contradictory(&arguments, "camera", "/camera").unwrap(), [""; 0]);
    }

    #[test]
    fn only_arguments_for_ros_count() {
        let arguments = ["node", "-p", "a:=1", "--ros-args", "-p", "b:=1", "--param", "c:=1", "--", "-p", "d:=1"];
        let expected = [["--ros-args", "-p", "b:=1"], ["--ros-args", "--param", "c:=1"]];
        assert_eq!(sources(&arguments.map(String::from)), expected);
    }

    #[test]
    fn arguments_that_ros_refuses_are_an_error() {
        let arguments = ["detector_node", "--ros-args", "-p", "threads"].map(String::from);
        let error = contradictory(&arguments, "camera", "/camera").unwrap_err();
        assert!(matches!(&error, NodeError::Arguments(message) if message.contains("threads")), "{error}");
    }
}
