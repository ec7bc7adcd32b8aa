//! What single functions cost: messages of viewers, pictures, templates, locators, the journal.
//!
//! ```sh
//! cargo bench --bench micro                # all
//! cargo bench --bench micro -- picture     # those whose path has this word
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the inputs are constant, and a panic is a failed measurement"
)]

use std::sync::Arc;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// Messages of viewers: read, judged, and encoded again.
mod rfb {
    use greenroom::domain::rfb::{Area, ClientMessage, Dialect, Gate, Parser, Policy, Role};

    use super::{Bencher, BytesCount, ItemsCount, black_box};

    /// A second of a person who moves the pointer and types, beside requests for pictures.
    fn messages() -> Vec<ClientMessage> {
        let area = Area { x: 0, y: 0, width: 1280, height: 800 };
        let mut messages = Vec::new();
        for step in 0_u16..60 {
            messages.push(ClientMessage::UpdateRequest { incremental: true, area });
            let (x, y) = (step * 20, step * 10);
            messages.push(ClientMessage::Pointer { buttons: 0, x, y, extended: false });
            let keysym = u32::from(b'a') + u32::from(step % 26);
            messages.push(ClientMessage::Key { down: step % 2 == 0, keysym });
        }
        messages
    }

    fn bytes() -> Vec<u8> {
        let mut bytes = Vec::new();
        messages().iter().for_each(|message| message.encode(&mut bytes));
        bytes
    }

    fn parsed(mut bytes: &[u8]) -> Vec<ClientMessage> {
        let mut parser = Parser::new(Dialect::X11VNC, 1 << 20);
        std::iter::from_fn(|| parser.next(&mut bytes).unwrap()).collect()
    }

    #[divan::bench]
    fn parse(bencher: Bencher) {
        let bytes = bytes();
        let count = BytesCount::of_slice(&bytes);
        bencher.counter(count).bench(|| parsed(black_box(&bytes)));
    }

    #[divan::bench]
    fn judge(bencher: Bencher) {
        let messages = messages();
        let mut gate = Gate::new(Policy::default(), Dialect::X11VNC);
        let _released = gate.set_role(Role::Control);
        bencher.counter(ItemsCount::new(messages.len())).bench_local(|| {
            messages.iter().for_each(|message| drop(black_box(gate.judge(message))));
        });
    }

    #[divan::bench]
    fn encode(bencher: Bencher) {
        let messages = messages();
        bencher.counter(ItemsCount::new(messages.len())).bench(|| {
            let mut bytes = Vec::with_capacity(4096);
            messages.iter().for_each(|message| message.encode(&mut bytes));
            bytes
        });
    }
}

/// Pictures of 1280x800 pixels, as files.
mod picture {
    use greenroom::domain::session::Size;
    use greenroom::system::capture::encode;
    use greenroom::system::seam::Format;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::{Bencher, BytesCount, black_box};

    /// A display with rows that look like text, and a quarter that looks like a photograph.
    fn frame(size: Size) -> Vec<u8> {
        let mut random = StdRng::seed_from_u64(7);
        let (width, height) = (usize::from(size.width()), usize::from(size.height()));
        let mut frame = vec![0xf0; width * height * 4];
        for (place, pixel) in frame.chunks_exact_mut(4).enumerate() {
            let (x, y) = (place % width, place / width);
            if x > width / 2 && y > height / 2 {
                pixel.fill_with(|| random.random());
            } else if y % 18 < 10 && random.random_ratio(1, 4) {
                pixel.fill(0x20);
            }
        }
        frame
    }

    fn encoded(bencher: Bencher, format: Format) {
        let size = Size::new(1280, 800).unwrap();
        let frame = frame(size);
        let bytes = BytesCount::of_slice(&frame);
        bencher.counter(bytes).bench(|| encode(black_box(&frame), size, format).unwrap());
    }

    #[divan::bench]
    fn png(bencher: Bencher) {
        encoded(bencher, Format::Png);
    }

    #[divan::bench]
    fn jpeg(bencher: Bencher) {
        encoded(bencher, Format::Jpeg);
    }
}

/// Templates of a workflow, parsed and rendered.
mod template {
    use greenroom::workflow::template::{Names, Renderer};
    use serde_json::json;

    use super::{Bencher, black_box};

    const TEXT: &str = "Dear {{ name }}, {% for item in items %}{{ loop.index }}. {{ item.title | upper }}: \
                        {{ item.price | round(2) }}\n{% endfor %}";

    fn names() -> Names {
        let items: Vec<_> = (0..20)
            .map(|item| json!({ "title": format!("seat {item}"), "price": 12.345 }))
            .collect();
        let values = json!({ "name": "Ada", "items": items });
        Names::new(values.as_object().unwrap())
    }

    #[divan::bench]
    fn check(bencher: Bencher) {
        let renderer = Renderer::new(true);
        bencher.bench(|| renderer.check("text", black_box(TEXT)).unwrap());
    }

    #[divan::bench]
    fn plain_text(bencher: Bencher) {
        let (renderer, names) = (Renderer::new(true), names());
        let text = "https://example.com/seats?row=4";
        bencher.bench(|| renderer.text("url", black_box(text), &names).unwrap());
    }

    #[divan::bench]
    fn render(bencher: Bencher) {
        let (renderer, names) = (Renderer::new(true), names());
        bencher.bench(|| renderer.text("text", black_box(TEXT), &names).unwrap());
    }
}

/// Locators of elements: the notation is read here, the search is in the page.
mod locator {
    use greenroom::workflow::page::locator::Locator;

    use super::black_box;

    #[divan::bench(args = [
        "#submit",
        "form.checkout >> role=button[name=\"Pay now\"]",
        "section:has(h2) >> text=\"Row 4\" >> nth=2 >> css=td > a[href*='seat']",
    ])]
    fn parse(text: &str) -> Locator {
        Locator::parse(black_box(text)).unwrap()
    }
}

/// The record of one message between actors, from its sending to its answer. The rings are full, as those of a
/// server are after its first minutes.
mod journal {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use greenroom::actors::clock::Clock;
    use greenroom::actors::journal::{About, Capacity, FileChange, Filter, Journal, Name, Outcome};
    use greenroom::domain::ids::{Mint, OrganizationId, SessionId};
    use greenroom::traces::Traces;
    use serde_json::json;

    use super::{Arc, Bencher, ItemsCount};

    /// The number of sessions that get messages.
    const SESSIONS: u64 = 20;

    const CAPACITY: Capacity = Capacity { server: 20_000, actor: 200 };

    /// A journal of sessions, and the senders of messages to them.
    struct Server {
        journal: Arc<Journal>,
        sender: Name,
        actors: Vec<(Name, About)>,
        next: AtomicUsize,
    }

    impl Server {
        fn new(traces: Traces) -> Self {
            let (journal, _trail) = Journal::new(Clock::start(), Mint::new(1), CAPACITY, traces);
            let actors = (1..=SESSIONS).map(|number| {
                let session = SessionId::from(number);
                let name = Name::from(session.to_string().as_str());
                journal.enter(&name, "session");
                let organization = Some(OrganizationId::from(1));
                (name, About { organization, session: Some(session), run: None })
            });
            let actors = actors.collect();
            let server = Self { journal, sender: "http".into(), actors, next: AtomicUsize::new(0) };
            (0..CAPACITY.server).for_each(|_| server.message());
            server
        }

        /// Records a message to the next session.
        fn message(&self) {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let (name, about) = &self.actors[next % self.actors.len()];
            let summary = json!({ "runnable_id": "ann", "ttl_seconds": 60 });
            self.journal.rehearse(&self.sender, name, *about, summary);
        }
    }

    #[divan::bench(threads = [1, 2, 20])]
    fn one_message(bencher: Bencher) {
        let server = Server::new(Traces::default());
        bencher.counter(ItemsCount::new(1_usize)).bench(|| server.message());
    }

    /// With an operator who follows the live tail and is too slow for it.
    #[divan::bench(threads = [1, 2, 20])]
    fn followed(bencher: Bencher) {
        let server = Server::new(Traces::default());
        let _follower = server.journal.follow(Filter::default());
        bencher.counter(ItemsCount::new(1_usize)).bench(|| server.message());
    }

    /// With a span for each message. Their export is not part of it.
    #[divan::bench]
    fn traced(bencher: Bencher) {
        let (traces, mut spans) = Traces::unexported();
        let server = Server::new(traces);
        bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
            server.message();
            spans.discard()
        });
    }

    /// With traces of which sampling leaves out this one.
    #[divan::bench]
    fn left_out(bencher: Bencher) {
        let server = Server::new(Traces::default());
        let left_out = Some(greenroom::traces::Trace::LeftOut);
        bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
            greenroom::traces::call_within(left_out.clone(), || server.message());
        });
    }

    /// A change of files, which is an event of the audit trail too. The trail is received.
    #[divan::bench]
    fn audited(bencher: Bencher) {
        let (journal, mut trail) =
            Journal::new(Clock::start(), Mint::new(1), CAPACITY, Traces::default());
        let record = || {
            let change = FileChange {
                kind: "bench",
                sender: "http",
                receiver: "bench",
                organization: OrganizationId::from(1),
                summary: json!({ "name": "file.txt", "bytes": 812 }),
            };
            journal.record(change, Outcome::Done, None);
        };
        for _ in 0..CAPACITY.server {
            record();
            let _stored = trail.try_recv();
        }
        bencher.bench_local(|| {
            record();
            trail.try_recv()
        });
    }
}
