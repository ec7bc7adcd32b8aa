//! Extractors for a request's JSON body, query string and path.
//!
//! Each rejection is a [`Problem`] that names the field.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use actix_web::dev::{Decompress, Payload};
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data};
use actix_web::{FromRequest, HttpRequest};
use dashmap::DashMap;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as QueryError, MapDeserializer};
use serde_json::{Value, json};
use serde_path_to_error::{Path, Segment};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};

use super::caller::{Bearer, Operator, key_of};
use super::front::Front;
use super::problem::Problem;
use super::subject;
use super::validation::{FieldError, PathStep, RequestPart, is_secret};
use crate::domain::given::{Fault, TextList, nearest};
use crate::domain::ids::{Id, OrganizationId};
use crate::domain::objects::Objects;
use crate::system::storage_state;

/// Bodies up to this size, in bytes, are read without reserving memory.
const SMALL: usize = 64 * 1024;

/// The units of large bodies that are taken of one organization in a second: 8 MiB.
const RATE: u32 = 8 * 1024;

/// The time by which the bytes of an organization may be ahead of [`RATE`].
const AHEAD: Duration = Duration::from_secs(2);

/// The unit in which room for bodies is counted, in bytes.
const UNIT: usize = 1024;

/// The bounds of bodies: the size of one in bytes after decompression, the time in which it has to arrive, and
/// the bytes of all bodies, and of those of one organization, that are held while they arrive. Kept as
/// application data; clones share the room.
#[derive(Debug, Clone)]
pub struct Bodies {
    most: usize,
    time: Duration,
    room: Arc<Semaphore>,
    /// The room that one organization may have: half of it.
    share: usize,
    shares: Arc<DashMap<OrganizationId, Arc<Share>>>,
}

/// The share of one organization in large bodies: room, and bytes by the time. Reading JSON takes a
/// processor, for which the requests of other organizations wait.
#[derive(Debug)]
struct Share {
    room: Arc<Semaphore>,
    /// The time at which all bytes so far have arrived at [`RATE`].
    due: Mutex<Instant>,
}

impl Share {
    /// Waits until `bytes` more may be taken.
    async fn pace(&self, bytes: usize) {
        let now = Instant::now();
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let ahead = {
            let mut due = self.due.lock();
            *due = (*due).max(now) + (Duration::from_secs(1) / RATE).saturating_mul(units);
            due.duration_since(now)
        };
        sleep(ahead.saturating_sub(AHEAD)).await;
    }
}

impl Bodies {
    /// Returns the limits that these settings ask for.
    pub fn new(settings: &super::Settings) -> Self {
        let room = settings.max_bodies_bytes.max(settings.max_body_bytes);
        let units = |bytes: usize| bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            most: settings.max_body_bytes,
            time: Duration::from_secs(settings.body_seconds),
            room: Arc::new(Semaphore::new(units(room))),
            share: units((room / 2).max(settings.max_body_bytes)),
            shares: Arc::default(),
        }
    }

    fn of(request: &HttpRequest) -> Self {
        let given = request.app_data::<Self>().cloned();
        given.unwrap_or_else(|| Self::new(&super::Settings::default()))
    }

    /// The share of the organization whose key a request carries; operators have none, and the whole room.
    async fn share_of(&self, request: &HttpRequest) -> Option<Arc<Share>> {
        request.app_data::<Data<Front>>()?;
        if Operator::comes_with(request) {
            return None;
        }
        // Clients without a key, such as agents with a pass, share one share.
        let owner = match Bearer::extract(request).await {
            Ok(bearer) => bearer.caller.organization,
            Err(_) => OrganizationId::from(0),
        };
        let new = || {
            let room = Arc::new(Semaphore::new(self.share));
            Arc::new(Share { room, due: Mutex::new(Instant::now()) })
        };
        Some(Arc::clone(&self.shares.entry(owner).or_insert_with(new)))
    }

    async fn collect(
        &self,
        mut stream: Decompress<Payload>,
        request: &HttpRequest,
    ) -> Result<Vec<u8>, Problem> {
        let late = Instant::now() + self.time;
        let mut bytes = Vec::new();
        let mut share: Option<Option<Arc<Share>>> = None;
        let mut room: Option<SemaphorePermit<'_>> = None;
        let mut own: Option<OwnedSemaphorePermit> = None;
        loop {
            let chunk = match timeout_at(late, stream.next()).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(bytes),
                Err(_late) => return Err(self.too_slow()),
            };
            let chunk: Bytes = chunk.map_err(|cause| {
                let detail = format!("the body could not be read: {cause}");
                Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", detail)
            })?;
            let size = bytes.len().saturating_add(chunk.len());
            if size > self.most {
                let most = self.most;
                let detail = format!("the body is larger than {most} bytes (http.max_body_bytes)");
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                return Err(Problem::new(status, "body_too_large", detail).closing());
            }
            if size > SMALL {
                let held = room.as_ref().map_or(0, SemaphorePermit::num_permits);
                let more = size.div_ceil(UNIT).saturating_sub(held);
                let more = u32::try_from(more).unwrap_or(u32::MAX);
                if share.is_none() {
                    share = Some(self.share_of(request).await);
                }
                if let Some(Some(share)) = &share {
                    share.pace(chunk.len()).await;
                    let more = Arc::clone(&share.room).try_acquire_many_owned(more);
                    let more = more.map_err(|_full| no_room())?;
                    match &mut own {
                        Some(own) => own.merge(more),
                        None => own = Some(more),
                    }
                }
                let more = self.room.try_acquire_many(more).map_err(|_full| no_room())?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
            }
            bytes.extend_from_slice(&chunk);
        }
    }

    fn too_slow(&self) -> Problem {
        let seconds = self.time.as_secs();
        let detail = format!("the body did not arrive within {seconds} s (http.body_seconds)");
        Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail).closing()
    }
}

fn no_room() -> Problem {
    let detail = "too much of other bodies is being received (http.max_bodies_bytes): try again";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_bodies", detail)
        .retry_after(Duration::from_secs(1))
        .closing()
}

/// A JSON body; the request's content type is ignored.
///
/// A body that is empty, blank or `null` is read as `{}`: types with only optional fields accept
/// it, others name the missing field. A structure is read from an object and from nothing else.
/// Rejections: 422 for a body that does not fit, 413 for one that is too large.
#[derive(Debug, Clone)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + Send + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bodies = Bodies::of(request);
        let stream = Decompress::from_headers(payload.take(), request.headers());
        let request = request.clone();
        Box::pin(async move {
            let read = match bodies.collect(stream, &request).await {
                Ok(bytes) => beside(bytes, parse).await,
                Err(problem) => Err(problem),
            };
            match read {
                Ok(body) => still_admitted(&request).await.map(|()| Self(body)),
                Err(problem) => Err(unless_refused(&request, problem).await),
            }
        })
    }
}

/// The raw bytes of a body, within the same limits as [`Body`].
#[derive(Debug, Clone)]
pub struct RawBody(pub Vec<u8>);

impl FromRequest for RawBody {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bodies = Bodies::of(request);
        let stream = Decompress::from_headers(payload.take(), request.headers());
        let request = request.clone();
        Box::pin(async move {
            let bytes = bodies.collect(stream, &request).await?;
            still_admitted(&request).await?;
            Ok(Self(bytes))
        })
    }
}

/// The raw bytes of a body that may have as many bytes as a storage state, also beyond
/// `http.max_body_bytes`.
#[derive(Debug, Clone)]
pub struct LargeBody(pub Vec<u8>);

impl FromRequest for LargeBody {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bodies = Bodies::of(request);
        let bodies = Bodies { most: bodies.most.max(storage_state::LARGEST), ..bodies };
        let stream = Decompress::from_headers(payload.take(), request.headers());
        let request = request.clone();
        Box::pin(async move {
            let bytes = bodies.collect(stream, &request).await?;
            still_admitted(&request).await?;
            Ok(Self(bytes))
        })
    }
}

/// The raw bytes of a body for a route that takes no key, within the same limits.
#[derive(Debug, Clone)]
pub struct UnkeyedBody(pub Vec<u8>);

impl FromRequest for UnkeyedBody {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bodies = Bodies::of(request);
        let stream = Decompress::from_headers(payload.take(), request.headers());
        let request = request.clone();
        Box::pin(async move { bodies.collect(stream, &request).await.map(Self) })
    }
}

/// Refuses a request whose key has ended while its body arrived: a client can delay the last byte until after
/// the revocation.
async fn still_admitted(request: &HttpRequest) -> Result<(), Problem> {
    if request.app_data::<Data<Front>>().is_none()
        || key_of(request).is_none()
        || Operator::comes_with(request)
    {
        return Ok(());
    }
    Bearer::extract(request).await.map(drop)
}

/// Processes a body. A large body is processed on a separate thread, so that other requests are not blocked.
///
/// # Errors
///
/// Those of the work; 500 if it panics.
pub async fn beside<T: Send + 'static>(
    body: Vec<u8>,
    work: impl FnOnce(&[u8]) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if body.len() <= SMALL {
        return work(&body);
    }
    let worked = tokio::task::spawn_blocking(move || work(&body)).await;
    worked.unwrap_or_else(|cause| {
        tracing::error!("the reader of a body panicked: {cause}");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Err(Problem::new(status, "internal", "the body could not be read"))
    })
}

/// Returns `problem`, or the refusal of the caller if it may not ask at all: extractors run side by side, and
/// a client without a key must not learn from the faster one what a body should look like.
async fn unless_refused(request: &HttpRequest, problem: Problem) -> Problem {
    if request.app_data::<Data<Front>>().is_none() {
        return problem; // An application without authentication.
    }
    if Operator::comes_with(request) {
        return problem;
    }
    Bearer::extract(request).await.err().unwrap_or(problem)
}

/// Reads JSON as [`Body`] does, for handlers that already have the bytes.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    without_nul(or_empty(bytes))?;
    parse_with_nul(bytes)
}

/// Returns the body, or an empty object for an empty body.
fn or_empty(bytes: &[u8]) -> &[u8] {
    let trimmed = bytes.trim_ascii();
    if trimmed.is_empty() || trimmed == b"null" { b"{}" } else { bytes }
}

/// Reads JSON as [`parse`] does, with texts that no database has to store.
pub fn parse_with_nul<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bytes = or_empty(bytes);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(Objects(&mut reader));
    let rest = reader.end();
    match read {
        Ok(value) => match rest {
            Ok(()) => Ok(value),
            Err(cause) => Err(broken(&cause)),
        },
        // The value would take many times the memory of its text, so the error repeats no input.
        Err(cause) if has_many_values(bytes) => {
            let inner = cause.inner();
            if !inner.is_data() {
                return Err(broken(inner));
            }
            let fault = Fault::read(&inner.to_string());
            let steps = steps_of(cause.path(), &fault);
            let error = field_error(RequestPart::Body, steps, fault, &Value::Null);
            Err(Problem::invalid(vec![error]))
        }
        Err(cause) => {
            // The whole value is parsed only here, because the error repeats the rejected input.
            let mut whole: Value = serde_json::from_slice(bytes).map_err(|cause| broken(&cause))?;
            let has_integers = write_integers(&mut whole);
            match parse_value(&whole) {
                Ok(value) if has_integers => Ok(value),
                // An enumeration reports a list as broken JSON, although the JSON is whole.
                Err(problem) if !cause.inner().is_data() => Err(problem),
                Ok(_) | Err(_) => {
                    let fault = Fault::read(&cause.inner().to_string());
                    let steps = steps_of(cause.path(), &fault);
                    Err(Problem::invalid(vec![field_error(
                        RequestPart::Body,
                        steps,
                        fault,
                        &whole,
                    )]))
                }
            }
        }
    }
}

/// The most values of a body that is read into a [`Value`], each of which takes up to 70 bytes beside its text.
const MOST_VALUES: usize = 1_000_000;

/// True if JSON may have more than [`MOST_VALUES`] values. The same characters within texts count too.
fn has_many_values(bytes: &[u8]) -> bool {
    bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > MOST_VALUES
}

/// Rewrites numbers such as `10.0` as integers, which they are in JSON Schema. Returns true if it
/// changed any.
fn write_integers(value: &mut Value) -> bool {
    match value {
        Value::Number(number) => {
            let text = number.to_string();
            let Some(digits) = text.strip_suffix(".0") else { return false };
            let integer = digits.parse::<i64>().map(Value::from);
            match integer.or_else(|_| digits.parse::<u64>().map(Value::from)) {
                Ok(integer) => {
                    *value = integer;
                    true
                }
                Err(_) => false,
            }
        }
        Value::Array(values) => {
            values.iter_mut().map(write_integers).filter(|any| *any).count() > 0
        }
        Value::Object(members) => {
            members.values_mut().map(write_integers).filter(|any| *any).count() > 0
        }
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// Reads a JSON value as [`Body`] does. Locations of errors begin with `body` as well.
pub fn parse_value<T: DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Objects(value)).map_err(|cause| {
        let fault = Fault::read(&cause.inner().to_string());
        let steps = steps_of(cause.path(), &fault);
        Problem::invalid(vec![field_error(RequestPart::Body, steps, fault, value)])
    })
}

/// The message about a text that contains NUL.
const NUL: &str = "text must not contain the character NUL (U+0000): remove it";

/// The member of a body that goes to a browser and into no database. Items of `localStorage` may have NUL.
const IN_BROWSER: &str = "storage_state";

/// Rejects texts with NUL, which PostgreSQL cannot store, whichever database is used. JSON can
/// write the character in one way only.
fn without_nul(bytes: &[u8]) -> Result<(), Problem> {
    if !bytes.windows(br"\u0000".len()).any(|window| window == br"\u0000") {
        return Ok(());
    }
    if has_many_values(bytes) {
        let message = format!("{NUL}; a body with it must not have more than {MOST_VALUES} values");
        let error = FieldError::new(RequestPart::Body, [], "value_error", message);
        return Err(Problem::invalid(vec![error]));
    }
    let whole: Value = serde_json::from_slice(bytes).map_err(|cause| broken(&cause))?;
    let mut errors = Vec::new();
    find_nul(&whole, &mut Vec::new(), &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
}

/// Collects the places of NUL in a value. The recursion is bounded by the JSON reader's limit on
/// depth.
fn find_nul(value: &Value, steps: &mut Vec<PathStep>, errors: &mut Vec<FieldError>) {
    const MOST: usize = 20;
    let refuse = |steps: &[PathStep], errors: &mut Vec<FieldError>| {
        if errors.len() < MOST {
            errors.push(FieldError::new(RequestPart::Body, steps.to_vec(), "value_error", NUL));
        }
    };
    match value {
        Value::String(text) if text.contains('\0') => refuse(steps, errors),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                steps.push(PathStep::Index(index));
                find_nul(item, steps, errors);
                steps.pop();
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                if steps.is_empty() && name == IN_BROWSER {
                    continue;
                }
                steps.push(PathStep::Name(name.clone()));
                if name.contains('\0') {
                    refuse(steps, errors);
                }
                find_nul(member, steps, errors);
                steps.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn broken(cause: &serde_json::Error) -> Problem {
    let error = FieldError::new(
        RequestPart::Body,
        [],
        "json_invalid",
        format!("JSON decode error: {cause}"),
    );
    let place = json!({"line": cause.line(), "column": cause.column()});
    Problem::invalid(vec![error.context(place)])
}

/// Returns the path to the wrong field. serde reports a missing field at the object around it.
fn steps_of(path: &Path, fault: &Fault) -> Vec<PathStep> {
    let mut steps: Vec<PathStep> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(PathStep::Index(*index)),
            Segment::Map { key } => Some(PathStep::Name(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    let named = match fault {
        Fault::Missing { field } | Fault::Unknown { field, .. } => field,
        Fault::Type { .. } | Fault::Value { .. } => return steps,
    };
    if !matches!(steps.last(), Some(PathStep::Name(last)) if last == named) {
        steps.push(PathStep::Name(named.clone()));
    }
    steps
}

/// The message for a field with a secret whose type is wrong.
const OTHER_TYPE: &str = "expected a value of another type";

fn field_error(part: RequestPart, steps: Vec<PathStep>, fault: Fault, whole: &Value) -> FieldError {
    let mut input = whole;
    for step in &steps {
        let inner = match step {
            PathStep::Name(name) => input.get(name),
            PathStep::Index(index) => input.get(index),
        };
        // Like FastAPI, the error repeats the object from which a field is missing.
        let Some(inner) = inner else { break };
        input = inner;
    }
    let input = input.clone();

    let (kind, msg) = match fault {
        Fault::Missing { .. } => ("missing", "Field required".to_owned()),
        Fault::Unknown { field, known } => ("extra_forbidden", unknown_field(&field, &known)),
        // serde's messages repeat the value.
        Fault::Type { .. } if is_secret(&steps) => ("type_error", OTHER_TYPE.to_owned()),
        Fault::Value { .. } if is_secret(&steps) => ("value_error", OTHER_TYPE.to_owned()),
        Fault::Type { message } => ("type_error", message),
        Fault::Value { message } => ("value_error", message),
    };
    FieldError::new(part, steps, kind, msg).given(input)
}

fn unknown_field(field: &str, known: &[String]) -> String {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    match nearest(field, known.iter().copied()) {
        Some(near) => format!("Extra inputs are not permitted; did you mean `{near}`?"),
        None if known.is_empty() => "Extra inputs are not permitted".to_owned(),
        None => format!("Extra inputs are not permitted; known are {}", known.join(", ")),
    }
}

/// A query string, read into a type.
///
/// A repeated name makes a list, if the type expects one. A query that does not fit is rejected
/// with 422. Unknown names are rejected if the type says `deny_unknown_fields`.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse_query(request.query_string()).map(Self))
    }
}

/// Reads a query string as [`Query`] does.
pub fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let mut members: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match members.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value.into_owned()),
            None => members.push((name.into_owned(), vec![value.into_owned()])),
        }
    }

    for (name, values) in &members {
        if name.contains('\0') || values.iter().any(|value| value.contains('\0')) {
            let step = PathStep::Name(name.clone());
            let error = FieldError::new(RequestPart::Query, [step], "value_error", NUL);
            return Err(Problem::invalid(vec![error]));
        }
    }
    let given = members
        .iter()
        .map(|(name, values)| (name.clone(), TextList::<QueryError>::several(values.clone())));
    serde_path_to_error::deserialize(MapDeserializer::new(given)).map_err(|cause| {
        let fault = Fault::read(&cause.inner().to_string());
        let steps = steps_of(cause.path(), &fault);
        let whole =
            members.iter().map(|(name, values)| (name.clone(), values.join(",").into())).collect();
        Problem::invalid(vec![field_error(RequestPart::Query, steps, fault, &Value::Object(whole))])
    })
}

/// The last id of a route's pattern, or the last few as a tuple, in their order: `PathId<RunId>` on
/// `/workflows/{workflow}/runs/{run}` is the run.
///
/// A malformed id is answered with 404, like an unknown one.
#[derive(Debug, Clone, Copy)]
pub struct PathId<T>(pub T);

/// One id or a tuple of ids.
pub trait PathIds: Sized {
    /// The number of ids to read.
    const COUNT: usize;

    /// Reads the ids in the order of the pattern.
    fn read(texts: &mut vec::IntoIter<String>) -> Result<Self, Problem>;
}

impl<T: Id> PathIds for T {
    const COUNT: usize = 1;

    fn read(texts: &mut vec::IntoIter<String>) -> Result<Self, Problem> {
        let text = texts.next().unwrap_or_default();
        text.parse().map_err(|_not_an_id| Problem::unknown::<T>(&text))
    }
}

impl<A: Id, B: Id> PathIds for (A, B) {
    const COUNT: usize = 2;

    fn read(texts: &mut vec::IntoIter<String>) -> Result<Self, Problem> {
        Ok((A::read(texts)?, B::read(texts)?))
    }
}

impl<T: PathIds> FromRequest for PathId<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        subject::note(request);
        let mut texts: Vec<String> =
            request.match_info().iter().map(|(_, text)| text.to_owned()).collect();
        let before = texts.len().saturating_sub(T::COUNT);
        ready(T::read(&mut texts.split_off(before).into_iter()).map(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Asked {
        count: u64,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Way {
        Fast,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Chosen {
        way: Way,
    }

    #[test]
    fn a_choice_that_is_no_text_is_named_and_not_taken_for_broken_json() {
        assert!(matches!(parse::<Chosen>(br#"{"way": "fast"}"#), Ok(Chosen { way: Way::Fast })));
        for wrong in ["[]", "5", "[5]", "true", "null", "\"slow\""] {
            let problem = parse::<Chosen>(format!("{{\"way\": {wrong}}}").as_bytes()).unwrap_err();
            let fault = &problem.body()["detail"][0];
            assert_eq!(fault["loc"], json!(["body", "way"]), "{wrong}: {fault}");
            assert_ne!(fault["type"], "json_invalid", "{wrong}: {fault}");
        }
    }

    #[test]
    fn a_body_of_many_values_is_refused_without_being_read_into_one_value() {
        let list = |end: &str| format!("{{\"count\": [{}{end}", "0,".repeat(MOST_VALUES));
        let fault_of = |text: String| {
            let problem = parse::<Asked>(text.as_bytes()).unwrap_err();
            problem.body()["detail"][0].clone()
        };
        let fault = fault_of(list("0]}"));
        assert_eq!(fault["loc"], json!(["body", "count"]));
        assert_eq!(fault["input"], Value::Null, "the input is not repeated");
        let broken = format!("{{\"count\": 1, \"more\": {}", list("0"));
        assert_eq!(fault_of(broken)["type"], "json_invalid");
        let fault = fault_of(list(r#""\u0000"]}"#));
        assert!(fault["msg"].as_str().unwrap().contains("1000000 values"), "{fault}");
    }

    #[test]
    fn a_whole_number_is_an_integer_however_it_is_written() {
        assert_eq!(
            parse::<Asked>(br#"{"count": 2353304177217.0}"#).unwrap().count,
            2_353_304_177_217
        );
        assert!(parse::<Asked>(br#"{"count": 1.5}"#).is_err());
        assert!(parse::<Asked>(br#"{"count": -1.0}"#).is_err());
    }
}
