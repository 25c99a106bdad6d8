// Package accesslog writes one line of JSON for each request, to a file that it
// rotates or to a stream. Whoever adds a line never waits: what cannot be written
// in time is dropped and counted.
package accesslog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
)

const (
	waiting   = 4096     // lines that may wait to be written
	bufferFor = 64 << 10 // bytes that are written at a time
	sayEvery  = time.Minute
	maxAgent  = 256 // bytes of a user agent that are kept
	maxPath   = 512 // bytes of a path that are kept
)

// Entry is one request. None of its texts holds a secret: what fills it sees to
// that.
type Entry struct {
	At        time.Time
	RequestID string
	Method    string
	Path      string // tokens in it masked, without the query
	Endpoint  string // the operation, such as sendMessage; empty: there is none
	Route     string
	Status    int
	Code      ferry.Code // of a refusal
	BytesIn   int64
	BytesOut  int64
	Took      time.Duration
	Key       string // id of the key
	By        string // its name
	Remote    string // address, without the port
	Agent     string // user agent
	FlowRun   string
}

// Options of Open.
type Options struct {
	Path    string    // a file, or "-" for Stdout
	Stdout  io.Writer // of "-"
	MaxSize int64     // bytes, where a file is rotated
	Keep    int       // files beside the current one
	Log     *slog.Logger
}

// Log is an open access log. It may be used concurrently.
type Log struct {
	opts    Options
	lines   chan Entry
	dropped atomic.Int64
	done    chan struct{}
	once    sync.Once
	closing chan struct{}

	// The writer's own.
	file *os.File
	size int64
	next int64 // size at which the file is rotated
	out  *bufio.Writer
	line []byte
	said time.Time
}

// Open opens the log for appending. The error says what is wrong with the file.
func Open(opts Options) (*Log, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{opts: opts, lines: make(chan Entry, waiting), done: make(chan struct{}), closing: make(chan struct{})}
	if err := l.open(); err != nil {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "the access log cannot be opened: %w", err).
			WithHint("accessLog.path is a file in a folder that is there and may be written")
	}
	go l.run()
	return l, nil
}

// Add writes an entry, or drops it when as many as there is room for wait already.
func (l *Log) Add(e *Entry) {
	select {
	case <-l.closing:
		l.dropped.Add(1)
		return
	default:
	}
	select {
	case l.lines <- *e:
	default:
		l.dropped.Add(1)
	}
}

// Dropped is how many entries were not written.
func (l *Log) Dropped() int64 { return l.dropped.Load() }

// Close writes what waits, and closes the file. Entries that are added afterwards
// are dropped.
func (l *Log) Close() error {
	l.once.Do(func() { close(l.closing) })
	<-l.done
	return nil
}

// run writes until Close.
func (l *Log) run() {
	defer close(l.done)
	for {
		select {
		case e := <-l.lines:
			l.write(&e)
			continue
		default:
		}
		l.flush()
		select {
		case e := <-l.lines:
			l.write(&e)
		case <-l.closing:
			l.end()
			return
		}
	}
}

// end writes what waits at the moment.
func (l *Log) end() {
	for range len(l.lines) {
		e := <-l.lines
		l.write(&e)
	}
	l.flush()
	if l.file != nil {
		_ = l.file.Close() // flushed: what the disk does with it is said by the next start
	}
}

func (l *Log) open() error {
	if l.opts.Path == "-" {
		l.out = bufio.NewWriterSize(l.opts.Stdout, bufferFor)
		return nil
	}
	f, err := os.OpenFile(l.opts.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && info.Mode()&(fs.ModeNamedPipe|fs.ModeDevice) == 0 {
		err = fmt.Errorf("%s is no file", l.opts.Path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	l.next = max(l.next, l.opts.MaxSize)
	l.out = bufio.NewWriterSize(f, bufferFor)
	return nil
}

func (l *Log) write(e *Entry) {
	l.line = e.append(l.line[:0])
	if l.opts.Path != "-" && l.size > 0 && l.size+int64(len(l.line)) > l.next {
		l.rotate()
	}
	if l.out == nil {
		if err := l.open(); err != nil {
			l.lost(1, err)
			return
		}
	}
	n, err := l.out.Write(l.line)
	l.size += int64(n)
	if err != nil {
		l.lost(1, err)
	}
}

func (l *Log) flush() {
	if l.out == nil {
		return
	}
	if err := l.out.Flush(); err != nil {
		l.lost(0, err)
	}
}

// lost counts lines that the disk did not take, and begins with the file anew: a
// buffered writer that failed once fails for ever.
func (l *Log) lost(n int64, err error) {
	l.dropped.Add(n)
	if l.out != nil {
		l.dropped.Add(int64(countLines(l.out)))
	}
	if l.file != nil {
		_ = l.file.Close() // it failed already
	}
	l.out, l.file = nil, nil
	if l.opts.Path == "-" {
		l.out = bufio.NewWriterSize(l.opts.Stdout, bufferFor)
	}
	if now := time.Now(); now.Sub(l.said) >= sayEvery {
		l.said = now
		l.opts.Log.Warn("accesslog.write", "error", err.Error(), "next", "requests go on; lines are dropped and counted until the file can be written")
	}
}

// countLines is about how many lines a buffer held: it cannot be read back.
func countLines(w *bufio.Writer) int {
	const about = 300 // bytes of a line
	return (w.Buffered() + about - 1) / about
}

// rotate renames the file to FILE.1, that one to FILE.2 and so on; the oldest goes.
func (l *Log) rotate() {
	l.flush()
	if l.file != nil {
		_ = l.file.Close() // flushed above
	}
	l.file, l.out, l.next = nil, nil, 0
	name := func(n int) string { return l.opts.Path + "." + strconv.Itoa(n) }
	var err error
	if l.opts.Keep == 0 {
		err = os.Remove(l.opts.Path)
	} else {
		for n := l.opts.Keep - 1; n >= 1; n-- {
			if e := os.Rename(name(n), name(n+1)); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = e
			}
		}
		if e := os.Rename(l.opts.Path, name(1)); e != nil {
			err = e
		}
	}
	if err != nil { // the file grows on, and is rotated later: better than losing lines
		l.next = l.size + l.opts.MaxSize
		l.opts.Log.Warn("accesslog.rotate", "error", err.Error())
	}
}
