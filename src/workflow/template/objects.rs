//! Values that templates can change, restricted so that none becomes deep or contains itself.
//!
//! Invariants: the content of a [`Namespace`], a [`List`] or a [`Cycler`] was copied by [`frozen`].
//! It is at most [`DEEPEST`] deep and contains none of these objects. So no value that a template
//! creates is deeper than the template's own text, and none contains itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{
    Enumerator, Kwargs, Object, ObjectRepr, Rest, Tuple, Value, ValueKind, from_args,
};
use minijinja::{Error, ErrorKind, State};
use parking_lot::Mutex;

/// The filter that checks and copies the value that `{% set %}` assigns.
pub(super) const BOUNDED: &str = "__greenroom_bounded";
/// The filter that replaces the operator `%`.
pub(super) const REMAINDER: &str = "__greenroom_remainder";
/// The function that assigns an attribute of a namespace.
pub(super) const SET_ATTRIBUTE: &str = "__greenroom_set";

/// The cost of copying one value, in instructions.
const NODE: u64 = 4;
/// The greatest depth of a value that is kept.
const DEEPEST: usize = 128;

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// True for the engine's own objects, such as loops and macros, which are not copied.
pub(super) fn is_of_the_engine(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().contains("::vm::"))
}

/// Copies a value with its lists and iterators, so that the copy never changes, and checks its depth.
pub(super) fn frozen(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<Value, Error> {
    let bytes = value.as_str().map_or(0, |text| text.len() / 16);
    state.consume_fuel(NODE.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)))?;
    if depth > DEEPEST {
        return Err(invalid(format!("a value is nested more than {DEEPEST} deep")));
    }
    if value.downcast_object_ref::<Namespace>().is_some()
        || value.downcast_object_ref::<Cycler>().is_some()
        || value.downcast_object_ref::<Joiner>().is_some()
    {
        return Err(invalid("a namespace, a cycler or a joiner cannot be kept in another value"));
    }
    if is_of_the_engine(value) {
        return Ok(value.clone());
    }
    let kind = value.kind();
    if matches!(kind, ValueKind::Seq | ValueKind::Iterable) {
        let items = value.try_iter()?.map(|item| frozen(state, &item, depth + 1));
        let items: Vec<Value> = items.collect::<Result<_, _>>()?;
        return Ok(if value.is_tuple() {
            Value::from(Tuple::from(items))
        } else {
            Value::from(items)
        });
    }
    if kind == ValueKind::Map {
        let mut pairs = Vec::new();
        for key in value.try_iter()? {
            let inner = value.get_item(&key)?;
            pairs.push((key, frozen(state, &inner, depth + 1)?));
        }
        return Ok(Value::from_pairs(pairs));
    }
    Ok(value.clone())
}

/// Returns the value that an assignment stores: a list becomes a mutable one.
fn assigned(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let kept = value.downcast_object_ref::<Namespace>().is_some()
        || value.downcast_object_ref::<List>().is_some()
        || value.downcast_object_ref::<Cycler>().is_some()
        || value.downcast_object_ref::<Joiner>().is_some();
    if kept {
        return Ok(value.clone());
    }
    let value = frozen(state, value, 0)?;
    if value.kind() == ValueKind::Seq && !value.is_tuple() {
        return Ok(Value::from_object(List(Mutex::new(value.try_iter()?.collect()))));
    }
    Ok(value)
}

/// Checks and copies the value that `{% set %}` assigns.
pub(super) fn bounded(state: &mut State<'_, '_>, value: &Value) -> Result<Value, Error> {
    assigned(state, value)
}

/// Implements `{% set space.name = value %}`.
pub(super) fn set_attribute(
    state: &mut State<'_, '_>,
    space: &Value,
    name: &str,
    value: &Value,
) -> Result<Value, Error> {
    let Some(space) = space.downcast_object_ref::<Namespace>() else {
        let message =
            format!("can only assign to attributes of namespaces, not of {}", space.kind());
        return Err(invalid(message));
    };
    let held = value.downcast_object_ref::<List>().is_some();
    let value = if held { value.clone() } else { frozen(state, value, 0)? };
    let value = if held { value } else { assigned(state, &value)? };
    let mut values = space.0.lock();
    values.retain(|(key, _value)| key != name);
    values.push((name.to_owned(), value));
    Ok(Value::from(()))
}

/// The result of `namespace(…)`, the only object whose attributes can be assigned.
#[derive(Debug, Default)]
pub(super) struct Namespace(Mutex<Vec<(String, Value)>>);

/// Creates a namespace from a mapping and named arguments.
pub(super) fn namespace(
    state: &mut State<'_, '_>,
    given: Option<&Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let space = Value::from_object(Namespace::default());
    if let Some(given) = given.filter(|given| given.kind() == ValueKind::Map) {
        for key in given.try_iter()? {
            let value = given.get_item(&key)?;
            set_attribute(state, &space, &key.to_string(), &value)?;
        }
    }
    for name in named.args().map(str::to_owned).collect::<Vec<_>>() {
        let value: Value = named.get(&name)?;
        set_attribute(state, &space, &name, &value)?;
    }
    Ok(space)
}

impl Object for Namespace {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let values = self.0.lock();
        let key = key.as_str()?;
        values.iter().find(|(name, _value)| name == key).map(|(_name, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.lock().iter().map(|(name, _)| Value::from(name)).collect())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}

/// A list that was assigned to a name; the mutating methods of Python change it.
#[derive(Debug)]
pub(super) struct List(Mutex<Vec<Value>>);

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.lock().get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.lock().clone())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.0.lock().len())
    }

    fn call_method(
        self: &Arc<Self>,
        state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let none = Value::from(());
        let index = |at: i64, length: usize| {
            let from_end = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
            if at < 0 { length.checked_sub(from_end) } else { Some(from_end) }
        };
        match method {
            "append" => {
                let (value,): (&Value,) = from_args(args)?;
                let value = frozen(state, value, 1)?;
                self.0.lock().push(value);
            }
            "extend" => {
                let (values,): (&Value,) = from_args(args)?;
                let values = values.try_iter()?.map(|value| frozen(state, &value, 1));
                let values: Vec<Value> = values.collect::<Result<_, _>>()?;
                self.0.lock().extend(values);
            }
            "insert" => {
                let (at, value): (i64, &Value) = from_args(args)?;
                let value = frozen(state, value, 1)?;
                let mut list = self.0.lock();
                let place = index(at, list.len()).unwrap_or(0).min(list.len());
                state.consume_fuel(u64::try_from(list.len() / 64).unwrap_or(u64::MAX))?;
                list.insert(place, value);
            }
            "pop" => {
                let (at,): (Option<i64>,) = from_args(args)?;
                let mut list = self.0.lock();
                state.consume_fuel(u64::try_from(list.len() / 64).unwrap_or(u64::MAX))?;
                let place = index(at.unwrap_or(-1), list.len());
                let Some(place) = place.filter(|place| *place < list.len()) else {
                    return Err(invalid("pop index out of range"));
                };
                return Ok(list.remove(place));
            }
            "remove" => {
                let (value,): (&Value,) = from_args(args)?;
                let items = self.0.lock().clone();
                state.consume_fuel(u64::try_from(items.len()).unwrap_or(u64::MAX))?;
                let Some(place) = items.iter().position(|item| item == value) else {
                    return Err(invalid("list.remove(x): x not in list"));
                };
                self.0.lock().remove(place);
            }
            "clear" => {
                let () = from_args(args)?;
                self.0.lock().clear();
            }
            "reverse" => {
                let () = from_args(args)?;
                self.0.lock().reverse();
            }
            "copy" => {
                let () = from_args(args)?;
                let items = self.0.lock().clone();
                return Ok(Value::from_object(Self(Mutex::new(items))));
            }
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        }
        Ok(none)
    }
}

/// The result of `cycler(…)`, which returns its items in turn.
#[derive(Debug)]
pub(super) struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

pub(super) fn cycler(state: &mut State<'_, '_>, items: Rest<Value>) -> Result<Value, Error> {
    if items.is_empty() {
        return Err(invalid("cycler needs at least one item"));
    }
    let items = items.iter().map(|item| frozen(state, item, 1)).collect::<Result<_, _>>()?;
    Ok(Value::from_object(Cycler { items, at: AtomicUsize::new(0) }))
}

impl Cycler {
    fn current(&self) -> Value {
        let at = self.at.load(Ordering::Relaxed) % self.items.len().max(1);
        self.items.get(at).cloned().unwrap_or_default()
    }
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current")).then(|| self.current())
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let () = from_args(args)?;
        match method {
            "next" => {
                let current = self.current();
                self.at.fetch_add(1, Ordering::Relaxed);
                Ok(current)
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<Cycler>")
    }
}

/// The result of `joiner(…)`: returns nothing at its first call, then its separator.
#[derive(Debug)]
pub(super) struct Joiner {
    separator: String,
    calls: AtomicUsize,
}

pub(super) fn joiner(separator: Option<&Value>) -> Value {
    let separator = separator.map_or_else(|| ", ".to_owned(), ToString::to_string);
    Value::from_object(Joiner { separator, calls: AtomicUsize::new(0) })
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let () = from_args(args)?;
        let first = self.calls.fetch_add(1, Ordering::Relaxed) == 0;
        Ok(Value::from(if first { "" } else { self.separator.as_str() }))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<Joiner>")
    }
}

/// The bytes that `encode()` returns.
#[derive(Debug)]
pub(super) struct Encoded(pub(super) Vec<u8>);

impl Object for Encoded {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "decode" => {
                let (_encoding,): (Option<&str>,) = from_args(args)?;
                Ok(Value::from(String::from_utf8_lossy(&self.0).into_owned()))
            }
            "hex" => {
                let () = from_args(args)?;
                Ok(Value::from(self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains(&b'\'') && !self.0.contains(&b'"') { '"' } else { '\'' };
        write!(f, "b{quote}")?;
        for byte in &self.0 {
            match byte {
                b'\n' => f.write_str("\\n")?,
                b'\r' => f.write_str("\\r")?,
                b'\t' => f.write_str("\\t")?,
                b'\\' => f.write_str("\\\\")?,
                b'\'' if quote == '\'' => f.write_str("\\'")?,
                b' '..=b'~' => write!(f, "{}", char::from(*byte))?,
                other => write!(f, "\\x{other:02x}")?,
            }
        }
        write!(f, "{quote}")
    }
}
