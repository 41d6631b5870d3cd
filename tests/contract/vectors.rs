//! Reads `tests/vectors/contract.jsonl` and runs it against a [`World`]. The format is told in `tests/vectors/README.md`.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use hapax::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// One line.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    needs: Option<String>,
    #[serde(flatten)]
    step: Step,
    expect: Option<Expect>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Send { subject: Text, headers: Vec<(String, Text)>, body: Text },
    Ask { subject: Text, reply_to: Text, body: Text },
    ReplyOf(String),
    Restart(Restart),
    Fault(Fault),
}

/// How the processor ends and starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Restart {
    Again,
    WithoutIndex,
    Broken,
    PowerCut,
}

/// What does not work from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    None,
    Index,
    Clock,
    Disk,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Part {
    Plain(String),
    Repeat { repeat: String, times: usize },
    Hex { hex: String },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Expect {
    Json { json: Value, replayed: bool },
    SameAs { same_as: String, replayed: bool },
    Nothing { nothing: bool },
    Later { later: bool },
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) body: Bytes,
    pub(crate) replayed: bool,
}

/// What the vectors are run against.
pub(crate) trait World {
    /// Publishes a command so that the processor gets it: a copy that the stream swallows is published again.
    async fn send(&mut self, subject: String, headers: Vec<(String, String)>, body: Bytes);
    /// Publishes a query.
    async fn ask(&mut self, subject: String, reply_to: String, body: Bytes);
    /// Waits for the next reply at an inbox; `None` if it does not come.
    async fn reply(&mut self, inbox: &str) -> Option<Reply>;
    /// What has come to an inbox when everything sent so far must have been answered.
    async fn by_now(&mut self, inbox: &str) -> Option<Reply>;
    async fn restart(&mut self, restart: Restart);
    async fn fault(&mut self, fault: Fault);
}

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) passed: usize,
    /// Lines that need something this world has not, by what that is.
    pub(crate) skipped: BTreeMap<String, usize>,
    /// Name and what was wrong, in order.
    pub(crate) failed: Vec<(String, String)>,
}

/// All lines.
pub(crate) fn lines() -> Vec<Line> {
    let text = include_str!("../vectors/contract.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Runs all lines that need no more than `offers`.
pub(crate) async fn run(world: impl World, offers: &[&str]) -> Report {
    let mut run = Run { world, fresh: 0, inboxes: HashMap::new(), replies: HashMap::new() };
    let mut report = Report::default();
    for line in lines() {
        if let Some(need) = line.needs.as_deref().filter(|need| !offers.contains(need)) {
            *report.skipped.entry(need.to_owned()).or_default() += 1;
            continue;
        }
        match run.line(&line).await {
            Ok(()) => report.passed += 1,
            Err(why) => report.failed.push((line.name, why)),
        }
    }
    report
}

struct Run<W> {
    world: W,
    fresh: u64,
    /// The inbox of each line, and what came to it.
    inboxes: HashMap<String, String>,
    replies: HashMap<String, Reply>,
}

impl<W: World> Run<W> {
    async fn line(&mut self, line: &Line) -> Result<(), String> {
        self.fresh += 1;
        let inbox = match &line.step {
            Step::Send { subject, headers, body } => {
                let headers: Vec<(String, String)> = headers
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), self.text(value)?)))
                    .collect::<Result<_, String>>()?;
                let inbox = headers.iter().find(|(name, _)| name == "Hapax-Reply-To").map(|(_, inbox)| inbox.clone());
                let (subject, body) = (self.text(subject)?, self.bytes(body)?);
                self.world.send(subject, headers, body).await;
                inbox.unwrap_or_else(|| "nowhere".to_owned())
            }
            Step::Ask { subject, reply_to, body } => {
                let (subject, inbox, body) = (self.text(subject)?, self.text(reply_to)?, self.bytes(body)?);
                self.world.ask(subject, inbox.clone(), body).await;
                inbox
            }
            Step::ReplyOf(name) => self.inboxes.get(name).cloned().ok_or_else(|| format!("no line {name}"))?,
            Step::Restart(restart) => {
                self.world.restart(*restart).await;
                return Ok(());
            }
            Step::Fault(fault) => {
                self.world.fault(*fault).await;
                return Ok(());
            }
        };
        self.inboxes.insert(line.name.clone(), inbox.clone());
        let reply = match line.expect.as_ref().ok_or("no expectation")? {
            Expect::Later { later } => return later.then_some(()).ok_or_else(|| "later: true or nothing".into()),
            Expect::Nothing { nothing } => {
                assert!(nothing, "nothing: true or nothing");
                let heard = self.world.by_now(&inbox).await;
                return heard.map_or(Ok(()), |reply| Err(format!("nothing may come, it was {:?}", reply.body)));
            }
            _ => self.world.reply(&inbox).await.ok_or("nothing came")?,
        };
        self.replies.insert(line.name.clone(), reply.clone());
        match line.expect.as_ref().ok_or("no expectation")? {
            Expect::Json { json, replayed } => {
                let heard: Value = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
                is_like(json, &heard, "")?;
                is_marked(*replayed, &reply)
            }
            Expect::SameAs { same_as, replayed } => {
                let first = self.replies.get(same_as).ok_or_else(|| format!("{same_as} was not answered"))?;
                if first.body != reply.body {
                    return Err(format!("not the bytes of {same_as}: {:?}, it was {:?}", reply.body, first.body));
                }
                is_marked(*replayed, &reply)
            }
            Expect::Nothing { .. } | Expect::Later { .. } => Ok(()),
        }
    }

    fn text(&self, text: &Text) -> Result<String, String> {
        String::from_utf8(self.bytes(text)?.into()).map_err(|error| error.to_string())
    }

    fn bytes(&self, text: &Text) -> Result<Bytes, String> {
        let parts = match text {
            Text::Plain(text) => return self.filled_in(text).map(Bytes::from),
            Text::Parts(parts) => parts,
        };
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                Part::Plain(text) => bytes.extend(self.filled_in(text)?.into_bytes()),
                Part::Repeat { repeat, times } => bytes.extend(repeat.repeat(*times).into_bytes()),
                Part::Hex { hex } => {
                    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|error| error.to_string());
                    bytes.extend((0..hex.len()).step_by(2).map(byte).collect::<Result<Vec<_>, _>>()?);
                }
            }
        }
        Ok(bytes.into())
    }

    /// `{fresh}`, `{position of LINE}` and `{time of LINE}`.
    fn filled_in(&self, text: &str) -> Result<String, String> {
        let mut filled_in = text.replace("{fresh}", &format!("fresh{}", self.fresh));
        for (place, member) in [("{position of ", "position"), ("{time of ", "decided_at")] {
            while let Some(start) = filled_in.find(place) {
                let end = start + filled_in[start..].find('}').ok_or("a place without an end")?;
                let name = &filled_in[start + place.len()..end];
                let reply = self.replies.get(name).ok_or_else(|| format!("{name} was not answered"))?;
                let reply: Value = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
                let value = reply[member].as_str().map_or_else(|| reply[member].to_string(), str::to_owned);
                filled_in.replace_range(start..=end, &value);
            }
        }
        Ok(filled_in)
    }
}

fn is_marked(replayed: bool, reply: &Reply) -> Result<(), String> {
    if reply.replayed == replayed {
        return Ok(());
    }
    Err(format!("Hapax-Replayed is {}, it should be {replayed}: {:?}", reply.replayed, reply.body))
}

/// Exact, members too, but for `{position}`, `{time}`, `{text}` and `{any}`.
fn is_like(pattern: &Value, value: &Value, path: &str) -> Result<(), String> {
    let fits = match (pattern, value) {
        (Value::String(place), _) if place == "{any}" => true,
        (Value::String(place), _) if place == "{position}" => value.as_u64().is_some_and(|number| 0 < number),
        (Value::String(place), Value::String(text)) if place == "{text}" => !text.is_empty(),
        (Value::String(place), Value::String(text)) if place == "{time}" => {
            Timestamp::parse(text).is_some_and(|time| time.to_string() == *text)
        }
        (Value::Object(patterns), Value::Object(values)) => {
            for (name, pattern) in patterns {
                let value = values.get(name).ok_or_else(|| format!("{path}.{name} is missing in {value}"))?;
                is_like(pattern, value, &format!("{path}.{name}"))?;
            }
            patterns.len() == values.len()
        }
        (Value::Array(patterns), Value::Array(values)) => {
            for (index, (pattern, value)) in patterns.iter().zip(values).enumerate() {
                is_like(pattern, value, &format!("{path}[{index}]"))?;
            }
            patterns.len() == values.len()
        }
        _ => pattern == value,
    };
    if fits { Ok(()) } else { Err(format!("{path} is {value}, it should be {pattern}")) }
}
