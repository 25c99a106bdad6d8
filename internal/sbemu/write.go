package sbemu

import (
	"time"

	"ferry/internal/sbemu/wire"
)

// writeTime is how long a peer may take no bytes before it is cut.
const writeTime = 30 * time.Second

// send encodes a frame for the one who writes.
func (c *conn) send(channel uint16, p wire.Performative) { c.sendWith(channel, p, nil) }

func (c *conn) sendWith(channel uint16, p wire.Performative, payload []byte) {
	if c.closing || c.over || c.frozen {
		return
	}
	var err error
	if c.out, err = wire.AppendFrame(c.out, wire.TypeAMQP, channel, p, payload); err != nil {
		// What is sent is made here: this is a fault of this package.
		c.srv.log.Error("encode a frame", "error", err)
	}
	c.signal()
}

// raw sends the header of a layer.
func (c *conn) raw(header string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.frozen {
		c.out = append(c.out, header...)
	}
	c.signal()
}

func (c *conn) sasl(p wire.Performative) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.frozen {
		c.out, _ = wire.AppendFrame(c.out, wire.TypeSASL, 0, p, nil) // fixed frames
	}
	c.signal()
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// flushed waits until everything is written, or the connection is over.
func (c *conn) flushed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
}

func (c *conn) flushLocked() {
	for (len(c.out) > 0 || c.writing) && !c.over {
		c.signal()
		c.room.Wait()
	}
}

// write writes what is to be written, fetches deliveries as long as the peer takes
// them, keeps the connection alive and notices when the peer does not.
func (c *conn) write() {
	defer c.end()
	alarm := time.NewTimer(c.beat())
	defer alarm.Stop()
	stuck := time.AfterFunc(writeTime, func() { _ = c.net.Close() })
	stuck.Stop()
	defer stuck.Stop()
	var spare []byte
	last := time.Now()
	for {
		c.mu.Lock()
		c.fetch()
		var b []byte
		if len(c.out) > 0 { // what is written and what is filled change places
			b, c.out, spare = c.out, spare[:0], nil
		}
		c.writing = len(b) > 0
		c.room.Broadcast()
		over, rearm := c.over, c.rearm
		c.rearm = false
		c.mu.Unlock()
		if over {
			return
		}
		if rearm {
			alarm.Reset(c.beat())
		}
		if len(b) > 0 {
			stuck.Reset(writeTime)
			_, err := c.net.Write(b)
			stuck.Stop()
			if err != nil {
				return
			}
			if spare = b; cap(spare) > 4*c.srv.o.Limits.OutBytes {
				spare = nil
			}
			last = time.Now()
			select {
			case <-alarm.C:
			default:
				continue
			}
		} else {
			select {
			case <-c.wake:
				continue
			case <-c.ctx.Done():
				return
			case <-alarm.C:
			}
		}
		c.alive(last)
		alarm.Reset(c.beat())
	}
}

// beat is how long the one who writes sleeps at most.
func (c *conn) beat() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	every := c.srv.o.Limits.IdleTimeOut / 2
	if c.idle > 0 {
		every = min(every, c.idle/4)
	}
	if !c.nextEnd.IsZero() {
		every = min(every, time.Until(c.nextEnd))
	}
	return max(every, time.Millisecond)
}

// alive sends an empty frame when the peer has heard nothing for a while, closes the
// connection when nothing was heard of the peer, and ends links whose token has
// ended.
func (c *conn) alive(last time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.over {
		return
	}
	now := time.Now()
	if silence := 2 * c.srv.o.Limits.IdleTimeOut; now.UnixNano()-c.heard.Load() > int64(silence) {
		c.frozen = false // this is said in any case
		c.closeWith(failure(condLimit, "nothing was heard for %s", silence))
		return
	}
	if c.opened && c.idle > 0 && now.Sub(last) >= c.idle/3 {
		// A frozen double does this too: its peer sees a connection that lives.
		c.out, _ = wire.AppendFrame(c.out, wire.TypeAMQP, 0, nil, nil) // without a body it cannot fail
	}
	if !c.nextEnd.IsZero() && !now.Before(c.nextEnd) {
		c.dropUnclaimed(now)
	}
}
