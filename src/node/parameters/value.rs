//! Values of parameters: made of Rust's, shown to people, sent in messages.

use r2r::{
    ParameterValue,
    rcl_interfaces::msg::{ParameterType, ParameterValue as Message},
};

// The types of values, in the bytes that messages have for them.
pub(super) const BOOL: u8 = ParameterType::PARAMETER_BOOL as u8;
pub(super) const INTEGER: u8 = ParameterType::PARAMETER_INTEGER as u8;
pub(super) const DOUBLE: u8 = ParameterType::PARAMETER_DOUBLE as u8;
pub(super) const STRING: u8 = ParameterType::PARAMETER_STRING as u8;
pub(super) const BYTE_ARRAY: u8 = ParameterType::PARAMETER_BYTE_ARRAY as u8;
pub(super) const BOOL_ARRAY: u8 = ParameterType::PARAMETER_BOOL_ARRAY as u8;
pub(super) const INTEGER_ARRAY: u8 = ParameterType::PARAMETER_INTEGER_ARRAY as u8;
pub(super) const DOUBLE_ARRAY: u8 = ParameterType::PARAMETER_DOUBLE_ARRAY as u8;
pub(super) const STRING_ARRAY: u8 = ParameterType::PARAMETER_STRING_ARRAY as u8;

/// Makes a value as ROS has it.
pub(super) trait IntoValue {
    fn into_value(self) -> ParameterValue;
}

impl IntoValue for bool {
    fn into_value(self) -> ParameterValue {
        ParameterValue::Bool(self)
    }
}

impl IntoValue for String {
    fn into_value(self) -> ParameterValue {
        ParameterValue::String(self)
    }
}

impl IntoValue for &str {
    fn into_value(self) -> ParameterValue {
        ParameterValue::String(self.into())
    }
}

impl IntoValue for usize {
    fn into_value(self) -> ParameterValue {
        ParameterValue::Integer(i64::try_from(self).expect("the range of every integer parameter is small"))
    }
}

impl IntoValue for f64 {
    fn into_value(self) -> ParameterValue {
        ParameterValue::Double(self)
    }
}

impl IntoValue for Vec<f64> {
    fn into_value(self) -> ParameterValue {
        ParameterValue::DoubleArray(self)
    }
}

/// A value as it is shown to people.
pub(super) fn shown(value: &ParameterValue) -> String {
    match value {
        ParameterValue::NotSet => "not set".into(),
        ParameterValue::Bool(value) => format!("the truth value {value}"),
        ParameterValue::Integer(value) => format!("the integer {value}"),
        ParameterValue::Double(value) => format!("{value:?}"),
        ParameterValue::String(value) => format!("'{value}'"),
        ParameterValue::DoubleArray(values) => format!("{values:?}"),
        ParameterValue::IntegerArray(values) => format!("the integers {values:?}"),
        other => format!("a {}", other.type_name()),
    }
}

/// The value of a message. One of an unknown type is no value.
pub(super) fn from_message(message: &Message) -> ParameterValue {
    match message.type_ {
        BOOL => ParameterValue::Bool(message.bool_value),
        INTEGER => ParameterValue::Integer(message.integer_value),
        DOUBLE => ParameterValue::Double(message.double_value),
        STRING => ParameterValue::String(message.string_value.clone()),
        BYTE_ARRAY => ParameterValue::ByteArray(message.byte_array_value.clone()),
        BOOL_ARRAY => ParameterValue::BoolArray(message.bool_array_value.clone()),
        INTEGER_ARRAY => ParameterValue::IntegerArray(message.integer_array_value.clone()),
        DOUBLE_ARRAY => ParameterValue::DoubleArray(message.double_array_value.clone()),
        STRING_ARRAY => ParameterValue::StringArray(message.string_array_value.clone()),
        _ => ParameterValue::NotSet,
    }
}

/// The message of a value that a parameter has.
pub(super) fn to_message(value: ParameterValue) -> Message {
    let typed = |kind| Message { type_: kind, ..Default::default() };
    match value {
        ParameterValue::Bool(bool_value) => Message { bool_value, ..typed(BOOL) },
        ParameterValue::Integer(integer_value) => Message { integer_value, ..typed(INTEGER) },
        ParameterValue::Double(double_value) => Message { double_value, ..typed(DOUBLE) },
        ParameterValue::String(string_value) => Message { string_value, ..typed(STRING) },
        ParameterValue::DoubleArray(double_array_value) => Message { double_array_value, ..typed(DOUBLE_ARRAY) },
        _ => unreachable!("no parameter has a value of another type"),
    }
}
