package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"ferry"
	"ferry/api"
)

// The contenders of the guarded door, beside kindLedger.
const (
	kindOpen    = "open"    // Ferry, accepting only, and nobody is asked for a key
	kindGuarded = "guarded" // Ferry, accepting only: key, JSON Schema, rates and quotas of key and route
)

// benchSchema is what the bodies of the benchmark must be true to.
const benchSchema = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","required":["invoice"],"properties":{"invoice":{
	"type":"object","required":["number","text"],"properties":{"number":{"type":"string","pattern":"^INV-[0-9]{4}-[0-9]+$"},"text":{"type":"string","maxLength":4000},
	"total":{"type":"number","minimum":0},"currency":{"enum":["EUR","USD"]}}}}}`

// guards are the limits of a contender: none ever refuses.
func (o contenderOptions) guards() api.Limits {
	if o.kind != kindGuarded {
		return api.Limits{}
	}
	limit := ferry.Limit{
		Rate: ferry.Rate{Calls: 1_000_000, Per: time.Second}, Quota: ferry.Rate{Calls: 1_000_000_000, Per: 24 * time.Hour},
	}
	return api.Limits{PerKey: limit, Reads: limit.Rate, Routes: map[string]ferry.Limit{benchRoute: limit}}
}

func (o contenderOptions) schema() json.RawMessage {
	if o.kind != kindGuarded {
		return nil
	}
	return json.RawMessage(benchSchema)
}

// openDoor is the broker, but everybody is the one sender.
type openDoor struct{ api.Service }

// Authenticate looks at nothing.
func (openDoor) Authenticate(context.Context, string) (ferry.Identity, error) {
	return ferry.Identity{Name: "anyone", KeyID: "anyone", Role: ferry.RoleSender}, nil
}

// guardedDoor compares durable accepts behind all guards with those behind none.
func (b *bench) guardedDoor() error {
	const conns = 64
	fmt.Printf("Durable accepts per second behind guards, %d senders, medians of %d rounds of %s\n\n", conns, b.rounds, b.spell)
	kinds := []string{kindOpen, kindLedger, kindGuarded}
	names := map[string]string{kindOpen: "no key, no limits", kindLedger: "key", kindGuarded: "key, JSON Schema, rates and quotas"}
	figures := map[string][]measured{}
	for range b.rounds {
		for _, kind := range kinds {
			m, err := b.accept(kind, conns)
			if err != nil {
				return fmt.Errorf("%s: %w", names[kind], err)
			}
			figures[kind] = append(figures[kind], m)
		}
	}
	fmt.Printf("%-36s %12s %14s %10s %10s\n", "", "accepts/s", "to no guards", "p50 ms", "p99 ms")
	for _, kind := range kinds {
		fmt.Printf("%-36s %12.0f %14.2f %10.2f %10.2f\n", names[kind], medianOf(figures[kind], rate), medianRatio(figures[kind], figures[kindOpen]),
			medianOf(figures[kind], func(m measured) float64 { return m.p50 }), medianOf(figures[kind], func(m measured) float64 { return m.p99 }))
	}
	fmt.Println()
	return nil
}
