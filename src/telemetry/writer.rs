//! Writes the daemon's log lines in a separate thread, so that a log reader that stalls delays nothing but
//! the log. Lines that do not fit into its buffer are dropped and counted.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// The buffer's size in bytes: several thousand lines.
const BUFFER: usize = 1 << 20;

/// Lines that this process has dropped. It has one log, so this is global.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many log lines this process has dropped.
pub(super) fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Passes lines to the writing thread. Cheap to clone; never blocks.
#[derive(Clone, Debug)]
pub struct LogWriter {
    messages: Sender<Message>,
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Completed once everything before it has been written.
    Flush(SyncSender<()>),
}

impl LogWriter {
    /// Starts the thread that writes to `out`.
    pub fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (messages, received) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_messages(&received, &left, &mut out))?;
        Ok(Self { messages, waiting })
    }

    /// Waits until everything logged so far has been written, for at most `patience`. Returns whether it has.
    pub fn flush(&self, patience: Duration) -> bool {
        let (done, written) = sync_channel(1);
        self.messages.send(Message::Flush(done)).is_ok() && written.recv_timeout(patience).is_ok()
    }
}

impl Write for LogWriter {
    /// Queues a whole line, or drops it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let before = self.waiting.fetch_add(line.len(), Ordering::Relaxed);
        let fits = before + line.len() <= BUFFER;
        if !fits || self.messages.send(Message::Line(line.to_vec())).is_err() {
            self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn write_messages(messages: &Receiver<Message>, waiting: &AtomicUsize, out: &mut impl Write) {
    let mut reported = dropped_lines();
    while let Ok(message) = messages.recv() {
        match message {
            Message::Line(line) => {
                if out.write_all(&line).is_err() {
                    // Not logged: that line would fail as well, and so on.
                    DROPPED.fetch_add(1, Ordering::Relaxed);
                    reported += 1;
                }
                waiting.fetch_sub(line.len(), Ordering::Relaxed);
            }
            Message::Flush(done) => _ = done.send(()),
        }
        let dropped = dropped_lines();
        if dropped > reported && waiting.load(Ordering::Relaxed) < BUFFER / 2 {
            tracing::warn!(
                lines = dropped - reported,
                "dropped log lines because the reader of the log was too slow"
            );
            reported = dropped;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// A reader that can stall.
    #[derive(Clone, Default)]
    struct Reader(Arc<State>);

    #[derive(Default)]
    struct State {
        stalled: Mutex<bool>,
        changed: Condvar,
        written: Mutex<Vec<u8>>,
    }

    impl Reader {
        fn stall(&self, stalled: bool) {
            *self.0.stalled.lock().unwrap() = stalled;
            self.0.changed.notify_all();
        }

        fn lines(&self) -> usize {
            self.0.written.lock().unwrap().split_inclusive(|&byte| byte == b'\n').count()
        }
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let stalled = self.0.stalled.lock().unwrap();
            drop(self.0.changed.wait_while(stalled, |stalled| *stalled).unwrap());
            self.0.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn a_stalled_reader_blocks_no_one_and_costs_lines_that_are_counted() {
        let reader = Reader::default();
        let mut writer = LogWriter::start(reader.clone()).unwrap();
        writer.write_all(b"first\n").unwrap();
        assert!(writer.flush(LONG), "everything logged has been written");
        assert_eq!(reader.lines(), 1);

        reader.stall(true);
        let before = dropped_lines();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..2 * BUFFER / line.len() {
            writer.write_all(&line).unwrap();
        }
        let dropped = dropped_lines() - before;
        assert!(!writer.flush(Duration::ZERO), "flush does not wait for a stalled reader");

        reader.stall(false);
        assert!(writer.flush(LONG));
        let written = reader.lines() as u64 - 1;
        assert_eq!(written + dropped, 2048, "each line is either written or counted");
        assert!((1000..1100).contains(&dropped), "the buffer is filled: {dropped} dropped");
        writer.write_all(b"last\n").unwrap();
        assert!(writer.flush(LONG), "and writing continues");
        assert_eq!(reader.lines() as u64, written + 2);
    }
}
