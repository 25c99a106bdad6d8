package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/queue/memqueue"
)

// BenchmarkAcceptForms compares what a form costs the accept path, in one run: 64
// senders, a body of 1 KiB, on a disk that syncs.
func BenchmarkAcceptForms(b *testing.B) {
	line := `{"text":"a line of an invoice that is of some length","quantity":3,"price":12.50,"vat":"A"}`
	body := `{"number":"INV-1","total":1190.10,"date":"2026-11-26","lines":[` + line
	for len(body) < 1000 {
		body += "," + line
	}
	body += `]}`
	schema := json.RawMessage(`{"type":"object","required":["number","total","date"],"additionalProperties":false,"properties":{
		"number":{"type":"string","pattern":"^INV-"},"total":{"type":"number","multipleOf":0.01},"date":{"type":"string","format":"date"},
		"lines":{"type":"array","items":{"type":"object","required":["text"],"properties":{"text":{"type":"string"},"quantity":{"type":"integer"},"price":{"type":"number","minimum":0},"vat":{"enum":["A","B"]}}}}}}`)
	for name, route := range map[string]ferry.Route{
		"none":    {Name: orders},
		"schema":  {Name: orders, Schema: schema},
		"request": {Name: orders, Schema: schema, Request: `{n: .number, sum: .total}`},
	} {
		b.Run(name, func(b *testing.B) {
			mem := memqueue.New(memqueue.Options{Lock: time.Minute})
			n := 0
			br, err := New(b.Context(), Options{
				DataDir: b.TempDir(), Version: "test", MinFree: -1, Routes: []ferry.Route{route},
				OpenTransport: func(context.Context, []ferry.WorkerInfo) (Transport, error) {
					return memTransport{q: queue.New(mem.Broker(), queue.Options{}), mem: mem, n: &n}, nil
				},
			})
			if err != nil {
				b.Fatal(err)
			}
			if err := br.Start(); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = br.Stop(context.Background()) }()
			var key atomic.Int64
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, err := br.Accept(context.Background(), ferry.Message{Route: orders, Body: []byte(body), ContentType: "application/json", IdempotencyKey: fmt.Sprint(key.Add(1))})
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
