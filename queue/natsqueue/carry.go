package natsqueue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/coder/websocket"
)

const (
	carryBuffer = 32 << 10
	// maxMessage is the largest message of a WebSocket: a packet that its sender did
	// not cut into several. It is passed on as it comes, never held whole.
	maxMessage = maxData + 2*protocolHeadRoom
	maxInfo    = 16 << 10         // the server's first line
	carryTime  = 10 * time.Second // to hand on one buffer; as long as the server itself waits
)

// carry passes bytes between a WebSocket and a connection to the server until one of
// the two ends.
func (d *door) carry(v *visit, ws *websocket.Conn) {
	defer d.leave(v)
	ws.SetReadLimit(maxMessage)
	pipe, err := d.server.InProcessConn()
	if err != nil { // the server is stopping
		_ = ws.Close(websocket.StatusTryAgainLater, "the queue is stopping")
		return
	}
	up := make(chan error, 1)
	began := false
	err = d.fromServer(v, ws, pipe, func() {
		began = true
		go func() {
			err := toServer(v.ctx, ws, pipe)
			_ = pipe.Close()
			up <- err
		}()
	})
	_ = pipe.Close()
	// The worker reads what was sent last, such as a refusal, before it sees the end.
	late := time.AfterFunc(leaveTime, v.end)
	_ = ws.Close(websocket.StatusGoingAway, "")
	late.Stop()
	if began {
		err = errors.Join(err, <-up)
	}
	d.log.Debug("queue.visit.ended", "address", v.remote, "cause", errorText(err))
}

// fromServer passes on what the server says. Its first line tells the number of the
// connection: what the other side says is passed on from then on.
func (d *door) fromServer(v *visit, ws *websocket.Conn, pipe net.Conn, listen func()) error {
	stop := context.AfterFunc(v.ctx, func() { _ = pipe.Close() })
	defer stop()
	info, id, err := readInfo(pipe)
	if err != nil {
		return err
	}
	d.meet(v, id)
	if err := handOver(v.ctx, ws, info); err != nil {
		return err
	}
	listen()
	buffer := make([]byte, carryBuffer)
	for {
		n, err := pipe.Read(buffer)
		if err != nil {
			return err
		}
		if err := handOver(v.ctx, ws, buffer[:n]); err != nil {
			return err
		}
	}
}

// readInfo reads the server's first line, which comes before anything was said.
func readInfo(pipe net.Conn) (info []byte, id uint64, err error) {
	if err := pipe.SetReadDeadline(time.Now().Add(loginTime)); err != nil {
		return nil, 0, err
	}
	buffer := make([]byte, maxInfo)
	n := 0
	for bytes.IndexByte(buffer[:n], '\n') < 0 {
		if n == len(buffer) {
			return nil, 0, fmt.Errorf("the server's first line has more than %d bytes", maxInfo)
		}
		more, err := pipe.Read(buffer[n:])
		if err != nil {
			return nil, 0, err
		}
		n += more
	}
	var told struct {
		ID uint64 `json:"client_id"`
	}
	line, _, _ := bytes.Cut(buffer[:n], []byte("\n"))
	text, ok := bytes.CutPrefix(line, []byte("INFO "))
	if !ok || json.Unmarshal(text, &told) != nil || told.ID == 0 {
		return nil, 0, errors.New("the server's first line does not tell the connection's number")
	}
	return buffer[:n], told.ID, pipe.SetReadDeadline(time.Time{})
}

func handOver(ctx context.Context, ws *websocket.Conn, data []byte) error {
	bounded, cancel := context.WithTimeout(ctx, carryTime)
	defer cancel()
	return ws.Write(bounded, websocket.MessageBinary, data)
}

// toServer passes on what the other side says.
func toServer(ctx context.Context, ws *websocket.Conn, pipe net.Conn) error {
	buffer := make([]byte, carryBuffer)
	for {
		kind, message, err := ws.Reader(ctx)
		if err != nil {
			return err
		}
		if kind != websocket.MessageBinary {
			_ = ws.Close(websocket.StatusUnsupportedData, "binary messages only")
			return errors.New("a message of text")
		}
		// Not io.Copy: what the server cannot be told must end the loop at once.
		for {
			n, err := message.Read(buffer)
			if n > 0 {
				if _, err := pipe.Write(buffer[:n]); err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
	}
}
