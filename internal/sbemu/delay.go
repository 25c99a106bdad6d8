package sbemu

import (
	"net"
	"os"
	"sync"
	"time"
)

// delayBytes bounds what is on its way in one direction.
const delayBytes = 64 << 20

// delayed is a connection whose bytes take their time in both directions. What is
// sent at t arrives at t plus the delay, however much is on the way: latency, not
// a narrow line.
type delayed struct {
	net.Conn
	in, out *line
	wg      sync.WaitGroup
}

func delay(c net.Conn, by time.Duration) *delayed {
	d := &delayed{Conn: c, in: newLine(by), out: newLine(by)}
	d.wg.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if n > 0 && d.in.put(buf[:n]) != nil {
				return
			}
			if err != nil {
				d.in.end(err)
				return
			}
		}
	})
	d.wg.Go(func() {
		for {
			chunk, err := d.out.next(nil)
			if err != nil {
				return
			}
			if _, err := c.Write(chunk); err != nil {
				d.out.end(err)
				return
			}
		}
	})
	return d
}

func (d *delayed) Read(b []byte) (int, error) {
	chunk, err := d.in.next(b)
	return len(chunk), err
}

func (d *delayed) Write(b []byte) (int, error) {
	if err := d.out.put(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close cuts the line: what is on the way is lost. Closing in peace is for the one
// who waits for the other's answer first.
func (d *delayed) Close() error {
	d.in.cut()
	d.out.cut()
	err := d.Conn.Close()
	d.wg.Wait()
	return err
}

// SetReadDeadline makes a waiting Read end at t.
func (d *delayed) SetReadDeadline(t time.Time) error {
	d.in.mu.Lock()
	defer d.in.mu.Unlock()
	d.in.deadline = t
	d.in.more.Broadcast()
	return nil
}

// SetWriteDeadline does nothing: a write waits for room only, and for the end.
func (d *delayed) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is SetReadDeadline.
func (d *delayed) SetDeadline(t time.Time) error { return d.SetReadDeadline(t) }

// line is one direction.
type line struct {
	by time.Duration

	mu       sync.Mutex
	more     *sync.Cond // anything below changed, or its time has come
	chunks   []chunk
	held     int
	err      error // after the last chunk
	gone     bool
	deadline time.Time
}

type chunk struct {
	b   []byte
	due time.Time
}

func newLine(by time.Duration) *line {
	l := &line{by: by}
	l.more = sync.NewCond(&l.mu)
	return l
}

// put sends a copy of b on its way. It blocks while too much is there already.
func (l *line) put(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.held > delayBytes && l.err == nil && !l.gone {
		l.more.Wait()
	}
	if l.gone {
		return net.ErrClosed
	}
	if l.err != nil {
		return l.err
	}
	l.chunks = append(l.chunks, chunk{b: append([]byte(nil), b...), due: time.Now().Add(l.by)})
	l.held += len(b)
	l.more.Broadcast()
	return nil
}

// end says what comes after everything that is on the way.
func (l *line) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	l.more.Broadcast()
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	l.more.Broadcast()
}

// next waits for what has arrived: copied into b as far as it fits, or the whole
// chunk when b is nil. One goroutine takes from a line.
func (l *line) next(b []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case l.gone:
			return nil, net.ErrClosed
		case !l.deadline.IsZero() && !now.Before(l.deadline):
			return nil, os.ErrDeadlineExceeded
		case len(l.chunks) > 0 && !now.Before(l.chunks[0].due):
			return l.take(b), nil
		case len(l.chunks) == 0 && l.err != nil:
			return nil, l.err
		}
		l.wait(now)
	}
}

// wait waits for a change, for the first chunk's arrival, or the deadline.
func (l *line) wait(now time.Time) {
	at := l.deadline
	if len(l.chunks) > 0 && (at.IsZero() || l.chunks[0].due.Before(at)) {
		at = l.chunks[0].due
	}
	if !at.IsZero() {
		alarm := time.AfterFunc(at.Sub(now), func() {
			l.mu.Lock() // so that it is not missed between the look and the wait
			defer l.mu.Unlock()
			l.more.Broadcast()
		})
		defer alarm.Stop()
	}
	l.more.Wait()
}

func (l *line) take(b []byte) []byte {
	first := &l.chunks[0]
	out := first.b
	if b != nil {
		out = b[:copy(b, first.b)]
	}
	if first.b = first.b[len(out):]; len(first.b) == 0 {
		l.chunks[0] = chunk{}
		l.chunks = l.chunks[1:]
	}
	l.held -= len(out)
	l.more.Broadcast()
	return out
}
