//! Tests of the behaviour that all endpoints share.

use actix_web::http::{Method, StatusCode, header};
use actix_web::test::{self, TestRequest};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Responder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::body::{Bodies, Body, PathId, Query};
use super::problem::Problem;
use super::{Settings, application};
use crate::domain::ids::{RunId, SessionId};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Display {
    #[serde(default)]
    width: u16,
    #[serde(default)]
    blocks: Vec<Block>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Block {
    url: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Paging {
    #[serde(default)]
    page: u32,
    #[serde(default)]
    status: Vec<String>,
}

async fn echo(Body(display): Body<Display>) -> impl Responder {
    web::Json(display)
}

async fn list(Query(paging): Query<Paging>) -> impl Responder {
    web::Json(paging)
}

async fn show(PathId(id): PathId<SessionId>) -> impl Responder {
    id.to_string()
}

async fn pair(PathId((session, run)): PathId<(SessionId, RunId)>) -> impl Responder {
    format!("{session} {run}")
}

async fn last(PathId(run): PathId<RunId>) -> impl Responder {
    run.to_string()
}

async fn busy() -> Result<HttpResponse, Problem> {
    Err(Problem::new(StatusCode::CONFLICT, "session_occupied", "occupied")
        .with("occupancy", json!({"runnable_id": "wr_1"}))
        .retry_after(std::time::Duration::from_millis(1500)))
}

async fn raw() -> Result<HttpResponse, actix_web::Error> {
    Err(actix_web::error::ErrorInternalServerError("the password is hunter2"))
}

fn endpoints(config: &mut ServiceConfig) {
    config
        .route("/echo", web::post().to(echo))
        .route("/list", web::get().to(list))
        .route("/sessions/{id}", web::get().to(show))
        .route("/pairs/{session}/{run}", web::get().to(pair))
        .route("/workflows/{workflow}/runs/{run}", web::get().to(last))
        .service(web::resource("/busy").get(busy).post(busy))
        .route("/raw", web::get().to(raw));
}

/// The answer to a test's request.
struct Answer {
    status: u16,
    headers: header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn ask_with(settings: Settings, request: TestRequest) -> Answer {
    let app =
        test::init_service(application(&settings, &Bodies::new(&settings)).configure(endpoints))
            .await;
    let answer = test::call_service(&app, request.to_request()).await;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = String::from_utf8(test::read_body(answer).await.to_vec()).unwrap();
    Answer { status, headers, text }
}

async fn ask(request: TestRequest) -> Answer {
    ask_with(Settings::default(), request).await
}

async fn post(body: &str) -> Answer {
    ask(TestRequest::post().uri("/echo").set_payload(body.to_owned())).await
}

/// Returns the only entry of a 422's list.
#[track_caller]
fn only_fault(answer: &Answer) -> Value {
    let body = answer.json();
    assert_eq!(answer.status, 422, "{body}");
    assert_eq!(body["code"], "invalid_request");
    assert_eq!(body["retryable"], false);
    assert_eq!(body["request_id"], answer.header("x-request-id"));
    assert_eq!(body["detail"].as_array().map(Vec::len), Some(1), "{body}");
    body["detail"][0].clone()
}

#[actix_web::test]
async fn a_body_is_read_whatever_its_type_and_nothing_is_an_empty_object() {
    for body in ["", "  \n", "null", "{}"] {
        assert_eq!(post(body).await.json(), json!({"width": 0, "blocks": []}), "{body:?}");
    }
    let request = TestRequest::post().uri("/echo").insert_header(("content-type", "text/plain"));
    assert_eq!(ask(request.set_payload(r#"{"width":5}"#)).await.json()["width"], 5);
}

#[actix_web::test]
async fn a_body_that_does_not_fit_names_the_field() {
    assert_eq!(
        only_fault(&post(r#"{"width":"wide"}"#).await),
        json!({"type": "type_error", "loc": ["body", "width"], "input": "wide",
               "msg": "invalid type: string \"wide\", expected u16"})
    );
    assert_eq!(
        only_fault(&post(r#"{"blocks":[{"url":"a"},{}]}"#).await),
        json!({"type": "missing", "loc": ["body", "blocks", 1, "url"], "input": {},
               "msg": "Field required"})
    );
    assert_eq!(
        only_fault(&post(r#"{"widht":5}"#).await),
        json!({"type": "extra_forbidden", "loc": ["body", "widht"], "input": 5,
               "msg": "Extra inputs are not permitted; did you mean `width`?"})
    );
}

#[actix_web::test]
async fn a_list_is_no_object_at_any_depth() {
    for (body, place, given) in [
        ("[]", json!(["body"]), json!([])),
        ("[5, []]", json!(["body"]), json!([5, []])),
        (r#"{"blocks":[["a"]]}"#, json!(["body", "blocks", 0]), json!(["a"])),
    ] {
        assert_eq!(
            only_fault(&post(body).await),
            json!({"type": "type_error", "loc": place, "input": given,
                   "msg": "invalid type: sequence, expected an object"})
        );
    }
}

#[actix_web::test]
async fn broken_json_is_told_with_line_and_column() {
    for body in ["{\n  \"width\": 5,,\n}", "{\n  \"widht\": 5,,\n}"] {
        let fault = only_fault(&post(body).await);
        assert_eq!(fault["type"], "json_invalid", "{body}");
        assert_eq!(fault["ctx"], json!({"line": 2, "column": 14}), "{body}");
    }
    assert_eq!(only_fault(&post("{} trailing").await)["type"], "json_invalid");
    assert_eq!(only_fault(&post("[1").await)["loc"], json!(["body"]));
}

#[actix_web::test]
async fn a_body_that_is_too_large_is_413() {
    let settings = Settings { max_body_bytes: 64, ..Settings::default() };
    let request = TestRequest::post().uri("/echo").set_payload(" ".repeat(65));
    let answer = ask_with(settings, request).await;
    assert_eq!((answer.status, &answer.json()["code"]), (413, &json!("body_too_large")));
}

#[actix_web::test]
async fn a_query_is_read_with_its_lists_and_names_what_does_not_fit() {
    let answer = ask(TestRequest::get().uri("/list?page=2&status=a&status=b")).await;
    assert_eq!(answer.json(), json!({"page": 2, "status": ["a", "b"]}));

    let fault = only_fault(&ask(TestRequest::get().uri("/list?page=two")).await);
    assert_eq!((&fault["loc"], &fault["input"]), (&json!(["query", "page"]), &json!("two")));
    let fault = only_fault(&ask(TestRequest::get().uri("/list?pge=2")).await);
    assert_eq!(fault["loc"], json!(["query", "pge"]));
    assert!(fault["msg"].as_str().unwrap().contains("`page`"), "{fault}");
}

#[actix_web::test]
async fn an_id_that_cannot_be_is_the_same_as_an_unknown_one() {
    assert_eq!(ask(TestRequest::get().uri("/sessions/pbs_7")).await.text, "pbs_7");
    let answer = ask(TestRequest::get().uri("/sessions/nonsense")).await;
    let same = Problem::unknown::<SessionId>("nonsense").body();
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["code"], "session_unknown");
    assert_eq!(answer.json()["detail"], same["detail"]);
}

#[actix_web::test]
async fn several_ids_are_read_in_their_order_and_one_is_the_last() {
    assert_eq!(ask(TestRequest::get().uri("/pairs/pbs_1/wr_2")).await.text, "pbs_1 wr_2");
    let answer = ask(TestRequest::get().uri("/pairs/pbs_1/pbs_2")).await;
    assert_eq!(answer.json()["code"], "run_unknown");
    assert_eq!(ask(TestRequest::get().uri("/workflows/x/runs/wr_3")).await.text, "wr_3");
}

#[actix_web::test]
async fn every_route_answers_with_a_trailing_slash_too() {
    assert_eq!(ask(TestRequest::get().uri("/sessions/pbs_7/?a=b")).await.text, "pbs_7");
    assert_eq!(ask(TestRequest::post().uri("/echo/")).await.status, 200);
    // A page refers to its assets relative to its own address.
    let moved = ask(TestRequest::get().uri("/wall/")).await;
    assert_eq!((moved.status, moved.header("location")), (308, "../wall"));
    let moved = ask(TestRequest::get().uri("/docs/")).await;
    assert_eq!((moved.status, moved.header("location")), (308, "../docs"));
}

#[actix_web::test]
async fn a_problem_carries_what_helps_to_act_on_it() {
    let answer = ask(TestRequest::get().uri("/busy").insert_header(("x-request-id", "abc"))).await;
    assert_eq!(answer.status, 409);
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(
        answer.json(),
        json!({"detail": "occupied", "code": "session_occupied", "retryable": true,
               "request_id": "abc", "occupancy": {"runnable_id": "wr_1"}})
    );
}

#[actix_web::test]
async fn what_no_handler_answers_is_a_problem_too() {
    let answer = ask(TestRequest::get().uri("/nowhere")).await;
    assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("route_unknown")));

    let answer = ask(TestRequest::delete().uri("/busy")).await;
    assert_eq!((answer.status, &answer.json()["code"]), (405, &json!("method_not_allowed")));

    let answer = ask(TestRequest::get().uri("/raw")).await;
    assert_eq!((answer.status, &answer.json()["code"]), (500, &json!("internal")));
    assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    assert_eq!(answer.json()["request_id"], answer.header("x-request-id"));
}

#[actix_web::test]
async fn an_id_of_the_client_is_kept_if_it_is_harmless() {
    let long = "x".repeat(65);
    for (given, kept) in [("abc-1", true), ("a b", false), (long.as_str(), false), ("", false)] {
        let request = TestRequest::get().uri("/list").insert_header(("x-request-id", given));
        let id = ask(request).await.header("x-request-id").to_owned();
        assert_eq!(id == given, kept, "{given:?} became {id:?}");
        assert!(!id.is_empty());
    }
}

#[actix_web::test]
async fn nothing_is_framed_unless_an_origin_may() {
    for page in ["/wall", "/console"] {
        let answer = ask(TestRequest::get().uri(page)).await;
        assert_eq!(answer.header("x-frame-options"), "DENY", "{page}");
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"));
    }
    // The console frames the view.
    let answer = ask(TestRequest::get().uri("/view/pbs_1")).await;
    assert!(answer.header("content-security-policy").ends_with("frame-ancestors 'self'"));

    let embed_origins = vec!["https://a.example".to_owned()];
    let settings = Settings { embed_origins, ..Settings::default() };
    let answer = ask_with(settings.clone(), TestRequest::get().uri("/view/pbs_1")).await;
    assert_eq!(answer.header("x-frame-options"), "");
    let policy = answer.header("content-security-policy");
    assert!(policy.contains("frame-ancestors 'self' https://a.example"), "{policy}");

    let answer = ask_with(settings, TestRequest::get().uri("/list")).await;
    assert_eq!(answer.header("x-frame-options"), "DENY");
}

#[actix_web::test]
async fn a_page_is_sent_once_and_then_known_by_its_tag() {
    let answer = ask(TestRequest::get().uri("/view/pbs_1")).await;
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let tag = ("if-none-match", answer.header("etag").to_owned());
    let again = ask(TestRequest::get().uri("/view/pbs_2").insert_header(tag)).await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));

    let answer = ask(TestRequest::get().uri("/assets/../view.html")).await;
    assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("page_unknown")));
}

#[actix_web::test]
async fn browsers_get_the_console_at_the_root_and_programs_get_json() {
    let html = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let answer = ask(TestRequest::get().uri("/").insert_header(html)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert!(answer.header("vary").contains("accept"), "{}", answer.header("vary"));
    let policy = answer.header("content-security-policy");
    assert!(policy.contains("frame-src 'self'; media-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(ask(TestRequest::get().uri("/console")).await.text, answer.text);

    for accept in ["application/json", "*/*"] {
        let answer = ask(TestRequest::get().uri("/").insert_header(("accept", accept))).await;
        assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("route_unknown")));
    }
    let answer = ask(TestRequest::post().uri("/").insert_header(html)).await;
    assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("route_unknown")));
}

#[actix_web::test]
async fn origins_that_are_not_named_may_not_call() {
    let preflight = |origin: &str| {
        TestRequest::default()
            .method(Method::OPTIONS)
            .uri("/echo")
            .insert_header(("origin", origin.to_owned()))
            .insert_header(("access-control-request-method", "POST"))
            .insert_header(("access-control-request-headers", "x-api-key"))
    };
    let answer = ask(preflight("https://any.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://any.example");

    let cors_origins = vec!["https://a.example".to_owned()];
    let settings = Settings { cors_origins, ..Settings::default() };
    let answer = ask_with(settings.clone(), preflight("https://a.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://a.example");
    let answer = ask_with(settings, preflight("https://b.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[actix_web::test]
async fn a_websocket_answers_with_a_trailing_slash_and_keeps_its_query() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn socket(
        request: actix_web::HttpRequest,
        body: web::Payload,
    ) -> Result<HttpResponse, actix_web::Error> {
        let (mut answer, ..) = actix_ws::handle(&request, body)?;
        let seen = header::HeaderValue::from_str(request.query_string()).unwrap();
        answer.headers_mut().insert(header::HeaderName::from_static("x-seen-query"), seen);
        Ok(answer)
    }

    let server = actix_web::HttpServer::new(|| {
        application(&Settings::default(), &Bodies::new(&Settings::default()))
            .service(web::resource("/ws/{id}").get(socket))
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);

    for path in ["/ws/pbs_1", "/ws/pbs_1/"] {
        let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {path}?apikey=k%2F HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(connection.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{path}: {answer}");
        assert!(answer.contains("x-seen-query: apikey=k%2F\r\n"), "{path}: {answer}");
    }
    handle.stop(false).await;
}
