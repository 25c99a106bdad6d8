package queue

import (
	"context"
	"encoding/binary"
	"fmt"
)

// The fields of a signal.
const (
	signalConfirmed  = iota + 1 // the 16 bytes of an id and the turn, repeatedly
	signalHelloAgain            // 1
	signalReport                // a ReportCall, JSON
)

// confirmedAtOnce bounds how many confirmations one packet holds, so that no
// signal is larger than about 64 KiB.
const confirmedAtOnce = 2000

// Signal tells a worker something now; it may be lost. Long lists of
// confirmations go in several packets. Brokers only.
func (q *Queue) Signal(ctx context.Context, worker string, s Signal) error {
	for {
		part := s
		part.Confirmed = s.Confirmed[:min(len(s.Confirmed), confirmedAtOnce)]
		if err := q.driver.Signal(ctx, worker, encodeSignal(part)); err != nil {
			return fmt.Errorf("signal to %s: %w", worker, err)
		}
		s = Signal{Confirmed: s.Confirmed[len(part.Confirmed):]}
		if len(s.Confirmed) == 0 {
			return nil
		}
	}
}

// Listen hands the signals for this worker to fn, one at a time, until stop,
// which waits for a call of fn under way (fn must not call it). Workers only.
func (q *Queue) Listen(ctx context.Context, fn func(Signal)) (stop func(), err error) {
	stop, err = q.driver.Listen(ctx, func(data []byte) {
		s, err := decodeSignal(data)
		if err != nil {
			q.log.Warn("queue.signal", "bytes", len(data), "error", err.Error())
			return
		}
		fn(s)
	})
	if err != nil {
		return nil, fmt.Errorf("listen for signals: %w", err)
	}
	return stop, nil
}

func encodeSignal(s Signal) []byte {
	list := make([]byte, 0, len(s.Confirmed)*18)
	for _, c := range s.Confirmed {
		list = append(list, c.ID[:]...)
		list = binary.AppendUvarint(list, c.Turn)
	}
	b := make([]byte, 0, len(list)+16)
	b = append(b, wireVersion, kindSignal)
	b = appendBytes(b, signalConfirmed, list)
	if s.HelloAgain {
		b = appendUint(b, signalHelloAgain, 1)
	}
	b = appendReportCall(b, s.Report)
	return b
}

func decodeSignal(data []byte) (Signal, error) {
	var s Signal
	f, err := openFields(data, kindSignal)
	if err != nil {
		return s, err
	}
	for {
		field, v, ok := f.next()
		if !ok {
			return s, f.err
		}
		switch field {
		case signalConfirmed:
			s.Confirmed = decodeConfirmed(&f, s.Confirmed, v)
		case signalHelloAgain:
			s.HelloAgain = f.uint(v) != 0
		case signalReport:
			s.Report = decodeReportCall(v)
		}
	}
}

func decodeConfirmed(f *fields, list []Confirmed, v []byte) []Confirmed {
	for len(v) > 0 {
		var c Confirmed
		n := copy(c.ID[:], v)
		turn, m := binary.Uvarint(v[n:])
		if n < len(c.ID) || m <= 0 {
			f.fail()
			return nil
		}
		c.Turn = turn
		list = append(list, c)
		v = v[n+m:]
	}
	return list
}
