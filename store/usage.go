package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"strings"

	"go.etcd.io/bbolt"

	"ferry"
)

// bUsage holds what keys did: day, route, key -> UsageCounts. It is made when the
// first counts are written: an older broker has no use for it, and does no harm.
var bUsage = []byte("usage")

// UsageBuckets is how many buckets a latency is counted in.
const UsageBuckets = 19

// UsageCounts is what one key did on one route on one UTC day, or a part of it.
type UsageCounts struct {
	Name     string               `json:"n,omitempty"` // of the key
	Requests int64                `json:"q,omitempty"`
	Accepted int64                `json:"a,omitempty"`
	Repeats  int64                `json:"r,omitempty"`
	Replaced int64                `json:"c,omitempty"`
	BytesIn  int64                `json:"in,omitempty"`
	BytesOut int64                `json:"out,omitempty"`
	Refused  map[ferry.Code]int64 `json:"x,omitempty"`
	// Of requests that took messages, microseconds.
	Sum     int64               `json:"us,omitempty"`
	Max     int64               `json:"max,omitempty"`
	Buckets [UsageBuckets]int64 `json:"b"`
}

// Add adds what else was counted.
func (u *UsageCounts) Add(more *UsageCounts) {
	if more.Name != "" {
		u.Name = more.Name
	}
	u.Requests += more.Requests
	u.Accepted += more.Accepted
	u.Repeats += more.Repeats
	u.Replaced += more.Replaced
	u.BytesIn += more.BytesIn
	u.BytesOut += more.BytesOut
	for code, n := range more.Refused {
		if u.Refused == nil {
			u.Refused = map[ferry.Code]int64{}
		}
		u.Refused[code] += n
	}
	u.Sum += more.Sum
	u.Max = max(u.Max, more.Max)
	for i, n := range more.Buckets {
		u.Buckets[i] += n
	}
}

// UsageOf names a row: a UTC day, as days since 1970, who and where.
type UsageOf struct {
	Day        int32
	Key, Route string
}

func (u UsageOf) bytes() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 6+len(u.Route)+len(u.Key)), uint32(u.Day))
	return append(append(append(b, u.Route...), 0), u.Key...)
}

func usageOf(b []byte) (UsageOf, bool) {
	if len(b) < 5 {
		return UsageOf{}, false
	}
	route, key, ok := strings.Cut(string(b[4:]), "\x00")
	return UsageOf{Day: int32(binary.BigEndian.Uint32(b)), Route: route, Key: key}, ok
}

// usagePurgeStep is how many old rows one commit removes.
const usagePurgeStep = 500

// AddUsage adds counts in one commit, and removes some of the rows of days before
// keepFrom. A day has at most ferry.MaxUsageRows rows beside those of
// ferry.UsageOther, which take up what comes beyond.
func (l *Ledger) AddUsage(ctx context.Context, counts map[UsageOf]*UsageCounts, keepFrom int32) error {
	return l.update(ctx, 0, func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bUsage)
		if err != nil {
			return err
		}
		rows := map[int32]int{}
		for of, more := range counts {
			old := b.Get(of.bytes())
			if old == nil && of.Key != ferry.UsageOther {
				if _, counted := rows[of.Day]; !counted {
					rows[of.Day] = countUsage(b, of.Day)
				}
				if rows[of.Day] >= ferry.MaxUsageRows {
					of.Key = ferry.UsageOther
					old = b.Get(of.bytes())
				} else {
					rows[of.Day]++
				}
			}
			var row UsageCounts
			if old != nil && json.Unmarshal(old, &row) != nil {
				l.log.Error("a damaged row of usage is counted anew", "day", of.Day, "route", of.Route)
				row = UsageCounts{}
			}
			row.Add(more)
			if of.Key == ferry.UsageOther {
				row.Name = ""
			}
			if err := putJSON(tx, bUsage, of.bytes(), &row); err != nil {
				return err
			}
		}
		return purgeUsage(b, keepFrom)
	})
}

func countUsage(b *bbolt.Bucket, day int32) (n int) {
	prefix := binary.BigEndian.AppendUint32(nil, uint32(day))
	c := b.Cursor()
	for k, _ := c.Seek(prefix); len(k) >= 4 && string(k[:4]) == string(prefix); k, _ = c.Next() {
		if of, ok := usageOf(k); ok && of.Key != ferry.UsageOther {
			n++
		}
	}
	return n
}

func purgeUsage(b *bbolt.Bucket, keepFrom int32) error {
	var old [][]byte
	c := b.Cursor()
	for k, _ := c.First(); k != nil && len(old) < usagePurgeStep; k, _ = c.Next() {
		if of, ok := usageOf(k); ok && of.Day >= keepFrom {
			break
		}
		old = append(old, append([]byte(nil), k...))
	}
	for _, k := range old {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// Usage gives the rows of some days, both included, to see.
func (l *Ledger) Usage(from, to int32, see func(UsageOf, *UsageCounts)) error {
	return l.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bUsage)
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, v := c.Seek(binary.BigEndian.AppendUint32(nil, uint32(max(from, 0)))); k != nil; k, v = c.Next() {
			of, ok := usageOf(k)
			if ok && of.Day > to {
				return nil
			}
			var row UsageCounts
			if err := json.Unmarshal(v, &row); err != nil || !ok {
				l.log.Warn("a damaged row of usage is left out", "day", of.Day, "route", of.Route)
				continue
			}
			see(of, &row)
		}
		return nil
	})
}
