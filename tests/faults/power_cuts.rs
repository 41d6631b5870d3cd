//! The power goes while commands are under way: of the processor's disk, of the broker's, of both. What was replied must
//! be there when it comes back; what the broker had acknowledged and lost is healed by clients that send again.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use futures::{StreamExt, stream};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::clients::{Clients, Told};
use crate::common::feed::read_feed;
use crate::common::history::History;
use crate::common::nats::NatsServer;
use crate::common::row::{Need, Row, Verdict, can_run};
use crate::disk::Disk;
use crate::judge::{given_up, judge};
use crate::program::{Feeds, Program, Serve, supervise};
use crate::stores::{id, last_segment, until_stated};
use crate::strace::{Attached, Blow, Point, is_struck};

/// How many cuts in all; `scripts/soak` makes more.
const COUNT: &str = "HAPAX_POWER_CUTS";
const COUNT_DEFAULT: usize = 50;

/// Cuts that one store lives through.
const CUTS_OF_A_LIFE: usize = 5;

/// Lives at a time.
const AT_A_TIME: usize = 3;

/// Senders, each with an account of its own and one command under way.
const SENDERS: usize = 8;

/// What the processor says when nats-server has damaged a file of its own (1 of some 700 power cuts of its disk).
const CONSUMER_DAMAGED: &str = "remove the folder streams/COMMANDS/obs/processor-0";

/// Whose power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Processors,
    Brokers,
    Both,
}

/// What happens before the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A commit is written, and the processor is killed before its fsync; the next one answers what it finds.
    KilledBeforeFsync,
    /// The fsync of a commit fails and the processor ends; the next one answers what it finds.
    FsyncFailed,
}

/// What senders have done, and may do.
#[derive(Debug, Default)]
struct Sending {
    begun: usize,
    answered: usize,
    /// No command is begun now.
    pauses: bool,
    /// No command is begun any more.
    ends: bool,
}

/// What lives through the cuts.
struct Life {
    whose: Whose,
    disk: Disk,
    nats: NatsServer,
    clients: Arc<Clients>,
    sending: watch::Sender<Sending>,
    /// What was sent while all senders paused.
    alone: Vec<Told>,
    /// On the machine's own disk.
    folder: TempDir,
}

impl Whose {
    fn is_processors(self) -> bool {
        self != Whose::Brokers
    }

    fn is_brokers(self) -> bool {
        self != Whose::Processors
    }
}

impl Life {
    async fn begin(whose: Whose) -> Life {
        let (disk, nats) = tokio::task::block_in_place(|| {
            let disk = Disk::new();
            let nats = match whose.is_brokers() {
                true => NatsServer::start_under(disk.within(), &disk.path().join("nats")),
                false => NatsServer::start(),
            };
            (disk, nats)
        });
        let clients = Arc::new(Clients::connect(&nats.url(), History::default()).await);
        let folder = tempfile::tempdir().unwrap();
        Life { whose, disk, nats, clients, folder, sending: watch::Sender::default(), alone: Vec::new() }
    }

    fn serve(&self) -> Serve {
        let (under, data) = match self.whose.is_processors() {
            true => (self.disk.within(), self.disk.path().join("data")),
            false => (Vec::new(), self.folder.path().join("data")),
        };
        let feed = if self.whose.is_brokers() { Feeds::Anew } else { Feeds::On };
        Serve { under, url: self.nats.url(), data, feed, log: self.folder.path().join("log") }
    }

    /// The data directory, as those see it who are not on the disk.
    fn data(&self) -> PathBuf {
        match self.whose.is_processors() {
            true => self.disk.seen_from_outside().join("data"),
            false => self.serve().data,
        }
    }

    /// Waits until senders have come so far, whatever ends meanwhile.
    async fn until(
        &self,
        program: Option<Program>,
        is_so_far: impl FnMut(&Sending) -> bool,
    ) -> Result<Program, String> {
        let mut sending = self.sending.subscribe();
        let waiting = async {
            sending.wait_for(is_so_far).await.expect("we hold the other end");
        };
        Ok(supervise(&self.serve(), program, waiting).await?.1)
    }

    /// Waits for so many more answers.
    async fn until_answered(&self, program: Option<Program>, more: usize) -> Result<Program, String> {
        let enough = self.sending.borrow().answered + more;
        self.until(program, |sending| enough <= sending.answered).await
    }

    /// One cut, and back to work.
    async fn cut(&mut self, program: Program, before: Before, answers: usize) -> Result<Program, String> {
        let mut program = self.until_answered(Some(program), answers).await?;
        if before != Before::Nothing {
            program = self.strike(program, before).await?; // And nothing more before the cut.
        }
        // Those who lose their power first: after a cut, an fsync that was under way may say that it has done its work
        // (seen in 6 of 120 cuts, and in 0 of 120 without a process that could still answer).
        let program = match self.whose.is_processors() {
            true => {
                program.kill().await;
                None
            }
            false => Some(program),
        };
        tokio::task::block_in_place(|| {
            if self.whose.is_brokers() {
                self.nats.kill();
            }
            self.disk.cut();
            self.disk.switch_on();
            if self.whose.is_brokers() {
                self.nats.start_again();
            }
        });
        self.sending.send_modify(|sending| sending.pauses = false);
        match self.until_answered(program, 1).await {
            Err(complaint) if self.whose.is_brokers() && complaint.contains(CONSUMER_DAMAGED) => {
                println!("the broker cannot read its consumer any more; what the processor says helps");
                tokio::task::block_in_place(|| {
                    self.nats.kill();
                    self.disk.remove("nats/jetstream/$G/streams/COMMANDS/obs/processor-0");
                    self.nats.start_again();
                });
                self.until_answered(None, 1).await
            }
            answered => answered,
        }
    }

    /// The processor ends at the fsync of one command, and the next one has answered it from what it found. All senders
    /// pause: the fsync of what they send would make safe what the start has not.
    async fn strike(&mut self, program: Program, before: Before) -> Result<Program, String> {
        self.sending.send_modify(|sending| sending.pauses = true);
        let program = self.until(Some(program), |sending| sending.begun == sending.answered).await?;
        until_stated(&self.data()).await; // That has an fsync of its own.
        let blow = if before == Before::KilledBeforeFsync { Blow::Kill } else { Blow::InputOutputError };
        let trace = self.folder.path().join("trace");
        let arguments = Point::new("fdatasync", last_segment(), 1).strike(blow, &self.serve().data, &trace);
        let strace = Attached::to(self.disk.within(), program.id, arguments).await;
        let number = self.alone.len();
        let alone = Told::new(&format!("carol.account.alone{number}.open"), &id(number), r#"{"owner":"eve"}"#);
        self.alone.push(alone.clone());
        let (_, program) = supervise(&self.serve(), Some(program), self.clients.settle(&alone)).await?;
        strace.ended().await;
        assert!(is_struck(&fs::read_to_string(trace).unwrap(), blow), "its fsync is the first");
        Ok(program)
    }

    /// Everything again, then a stop, then the judge.
    async fn end(self, program: Program, told: &[Told]) -> Verdict {
        let again = stream::iter(self.alone.iter().chain(told)).for_each_concurrent(SENDERS, async |told| {
            self.clients.settle(told).await;
        });
        let mut program = match supervise(&self.serve(), Some(program), again).await {
            Ok(((), program)) => program,
            Err(complaint) => return given_up(&self.clients.history(), complaint),
        };
        if self.whose == Whose::Brokers {
            // nats-server has lost the whole stream of the feed, mostly: only a start makes it again.
            program.stop().await;
            program = self.serve().start_well().await;
        }
        let well = match supervise(&self.serve(), Some(program), self.clients.until_well()).await {
            Ok((well, program)) => {
                program.stop().await;
                well
            }
            Err(complaint) => return given_up(&self.clients.history(), complaint),
        };
        let feed = read_feed(&self.nats.client().await, 0).await;
        let mut verdict = judge(&self.clients.history(), &self.data(), Some(&feed));
        verdict.complaints.extend(well.err());
        verdict
    }
}

/// An atomic batch of three deposits to a sender's account.
fn deposits(sender: usize, number: usize) -> String {
    let item = |part: usize| {
        let id = format!("deposit-{part}-{number:010}");
        format!(r#"{{"id":"{id}","aggregate":"account","key":"{sender}","command":"deposit","data":{{"amount":5}}}}"#)
    };
    format!(r#"{{"atomic":true,"commands":[{}]}}"#, [1, 2, 3].map(item).join(","))
}

/// Whether a sender begins a command, after a pause if need be.
async fn goes_on(sending: &watch::Sender<Sending>) -> bool {
    let mut may = sending.subscribe();
    loop {
        may.wait_for(|sending| !sending.pauses || sending.ends).await.expect("we hold the other end");
        let begins = sending.send_if_modified(|sending| {
            let begins = !sending.pauses && !sending.ends;
            sending.begun += usize::from(begins);
            begins
        });
        if begins || sending.borrow().ends {
            return begins;
        }
    }
}

/// Sends one command after the other until told to stop, and says what was sent.
async fn send(clients: Arc<Clients>, sender: usize, sending: watch::Sender<Sending>) -> Vec<Told> {
    let mut all = Vec::new();
    while goes_on(&sending).await {
        let principal = ["alice", "bob"][sender % 2];
        let (name, body) = match all.len() {
            0 => ("open", r#"{"owner":"ann"}"#),
            number if number.is_multiple_of(3) => ("withdraw", r#"{"amount":15}"#),
            _ => ("deposit", r#"{"amount":7}"#),
        };
        let number = 1_000_000 * sender + all.len();
        let told = if all.len() % 4 == 2 {
            Told::new(&format!("{principal}._batch.{sender}.run"), &id(number), deposits(sender, number))
        } else {
            Told::new(&format!("{principal}.account.{sender}.{name}"), &id(number), body)
        };
        clients.settle(&told).await;
        sending.send_modify(|sending| sending.answered += 1);
        all.push(told);
    }
    all
}

/// A store that lives through several cuts.
async fn live(whose: Whose, life: usize) -> Verdict {
    let mut place = Life::begin(whose).await;
    let sending: Vec<_> =
        (0..SENDERS).map(|sender| tokio::spawn(send(place.clients.clone(), sender, place.sending.clone()))).collect();
    let mut program = place.serve().start_well().await;
    for cut in 0..CUTS_OF_A_LIFE {
        let before = match cut {
            2 if whose.is_processors() => Before::KilledBeforeFsync,
            4 if whose.is_processors() => Before::FsyncFailed,
            _ => Before::Nothing,
        };
        // Anything from an almost empty store on; no two lives are alike.
        let answers = 1 + (life * CUTS_OF_A_LIFE + cut) * 37 % 101;
        program = match place.cut(program, before, answers).await {
            Ok(program) => program,
            Err(complaint) => return given_up(&place.clients.history(), complaint),
        };
    }
    place.sending.send_modify(|sending| sending.ends = true);
    let sent = supervise(&place.serve(), Some(program), futures::future::join_all(sending)).await;
    match sent {
        Ok((sent, program)) => {
            let told: Vec<Told> = sent.into_iter().flat_map(Result::unwrap).collect();
            place.end(program, &told).await
        }
        Err(complaint) => given_up(&place.clients.history(), complaint),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn power_cuts() {
    let count = env::var(COUNT).map_or(COUNT_DEFAULT, |count| count.parse().expect("a number of cuts"));
    let lives = count.div_ceil(CUTS_OF_A_LIFE);
    let whose = |life: usize| [Whose::Processors, Whose::Both, Whose::Brokers][life % 3];
    let name = |whose| format!("power cuts: {whose:?}").to_lowercase();
    if !can_run("power cuts", &[Need::Root, Need::Strace]) {
        return;
    }
    let verdicts: Vec<_> =
        stream::iter(0..lives).map(|life| live(whose(life), life)).buffered(AT_A_TIME).collect().await;
    Row::end_all([Whose::Processors, Whose::Both, Whose::Brokers].map(|of| {
        let mut row = Row::of(name(of));
        for (life, verdict) in verdicts.iter().enumerate().filter(|(life, _)| whose(*life) == of) {
            row.add(CUTS_OF_A_LIFE, &format!("life {life}"), verdict); // A life answers for all its cuts.
        }
        row
    }));
}
