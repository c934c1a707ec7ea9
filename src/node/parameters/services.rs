//! The services through which others read and set the parameters: those of `rcl_interfaces` that every node has.
//!
//! r2r has a handler of its own, whose descriptors are without ranges and which tells no change on `/parameter_events`.

use super::{
    Parameters,
    declaration::{DECLARED, Declaration, declaration},
    value,
};
use crate::node::lock;
use futures::StreamExt;
use r2r::{
    Clock, Node, Publisher, QosProfile, WrappedServiceTypeSupport,
    rcl_interfaces::{
        msg::{ListParametersResult, Parameter, ParameterDescriptor, ParameterEvent, ParameterValue, SetParametersResult},
        srv::{
            DescribeParameters, GetParameterTypes, GetParameters, ListParameters, SetParameters, SetParametersAtomically,
        },
    },
};
use std::{
    slice,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::runtime::Runtime;

/// Starts the services. Changes are logged and told on `/parameter_events`.
///
/// # Errors
/// If ROS refuses a service.
pub(in crate::node) fn start(
    node: &mut Node,
    runtime: &Runtime,
    parameters: Arc<Mutex<Parameters>>,
    logger: &str,
) -> r2r::Result<()> {
    let shared = parameters.clone();
    serve::<GetParameters::Service>(node, runtime, "get_parameters", move |request| get(&lock(&shared), request))?;
    serve::<GetParameterTypes::Service>(node, runtime, "get_parameter_types", types)?;
    serve::<DescribeParameters::Service>(node, runtime, "describe_parameters", describe)?;
    serve::<ListParameters::Service>(node, runtime, "list_parameters", list)?;

    let events = node.create_publisher("/parameter_events", QosProfile::parameter_events())?;
    let setter = Setter { parameters, events, node: node.fully_qualified_name()?, logger: logger.into() };
    let shared = setter.clone();
    serve::<SetParameters::Service>(node, runtime, "set_parameters", move |request| {
        // Each by itself: one that is refused keeps none of the others from being set.
        let results = request.parameters.iter().map(|parameter| shared.set(slice::from_ref(parameter))).collect();
        SetParameters::Response { results }
    })?;
    serve::<SetParametersAtomically::Service>(node, runtime, "set_parameters_atomically", move |request| {
        SetParametersAtomically::Response { result: setter.set(&request.parameters) }
    })
}

/// Answers the requests of the node's service of that name.
fn serve<S: WrappedServiceTypeSupport + 'static>(
    node: &mut Node,
    runtime: &Runtime,
    name: &'static str,
    answer: impl Fn(&S::Request) -> S::Response + Send + 'static,
) -> r2r::Result<()> {
    let mut requests = node.create_service::<S>(&format!("~/{name}"), QosProfile::parameters())?;
    runtime.spawn(async move {
        while let Some(request) = requests.next().await {
            let answer = answer(&request.message);
            if let Err(error) = request.respond(answer) {
                r2r::log_warn!("detector_node", "no answer of {name} could be sent: {error}");
            }
        }
    });
    Ok(())
}

fn get(parameters: &Parameters, request: &GetParameters::Request) -> GetParameters::Response {
    let value = |name: &String| parameters.get(name).map_or_else(ParameterValue::default, value::to_message);
    GetParameters::Response { values: request.names.iter().map(value).collect() }
}

fn types(request: &GetParameterTypes::Request) -> GetParameterTypes::Response {
    let types = request.names.iter().map(|name| described(name).type_).collect();
    GetParameterTypes::Response { types }
}

fn describe(request: &DescribeParameters::Request) -> DescribeParameters::Response {
    let descriptors = request.names.iter().map(|name| described(name)).collect();
    DescribeParameters::Response { descriptors }
}

/// The descriptor of a parameter. One that does not exist has no type.
fn described(name: &str) -> ParameterDescriptor {
    let nothing = || ParameterDescriptor { name: name.into(), ..Default::default() };
    declaration(name).map_or_else(nothing, Declaration::descriptor)
}

/// The names below the asked prefixes, at most `depth` names deep; with depth 0, however deep.
fn list(request: &ListParameters::Request) -> ListParameters::Response {
    let near = |rest: &str| request.depth == 0 || (rest.matches('.').count() as u64) < request.depth;
    let below = |name: &str, prefix: &String| {
        let rest = name.strip_prefix(prefix.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('.').is_some_and(near))
    };
    let asked = |name: &str| match &request.prefixes[..] {
        [] => near(name),
        prefixes => prefixes.iter().any(|prefix| below(name, prefix)),
    };
    let mut result = ListParametersResult::default();
    for Declaration { name, .. } in DECLARED.iter().filter(|declared| asked(declared.name)) {
        result.names.push((*name).into());
        if let Some((prefix, _)) = name.rsplit_once('.')
            && !result.prefixes.iter().any(|listed| listed == prefix)
        {
            result.prefixes.push(prefix.into());
        }
    }
    ListParameters::Response { result }
}

/// Sets parameters and tells what changed.
#[derive(Clone)]
struct Setter {
    parameters: Arc<Mutex<Parameters>>,
    events: Publisher<ParameterEvent>,
    /// The node's full name.
    node: String,
    logger: String,
}

impl Setter {
    /// Sets all of them or none.
    fn set(&self, wanted: &[Parameter]) -> SetParametersResult {
        let wanted: Vec<_> =
            wanted.iter().map(|parameter| (parameter.name.clone(), value::from_message(&parameter.value))).collect();
        let outcome = lock(&self.parameters).set_all(&wanted);
        match outcome {
            Ok(changed) => {
                self.tell(changed);
                SetParametersResult { successful: true, reason: String::new() }
            }
            Err(error) => SetParametersResult { successful: false, reason: error.to_string() },
        }
    }

    fn tell(&self, changed: Vec<(&'static str, r2r::ParameterValue)>) {
        if changed.is_empty() {
            return;
        }
        for (name, value) in &changed {
            r2r::log_info!(&self.logger, "parameter {name} is now {}", value::shown(value));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let parameter = |(name, value): (&str, _)| Parameter { name: name.into(), value: value::to_message(value) };
        let event = ParameterEvent {
            stamp: Clock::to_builtin_time(&now),
            node: self.node.clone(),
            changed_parameters: changed.into_iter().map(parameter).collect(),
            ..Default::default()
        };
        if let Err(error) = self.events.publish(&event) {
            r2r::log_warn!(&self.logger, "a change of parameters could not be told on /parameter_events: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
