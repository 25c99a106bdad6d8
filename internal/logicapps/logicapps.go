// Package logicapps is the engine of Azure Logic Apps and Power Automate as a
// server sees it, for tests: which headers its HTTP action sends and drops, when
// it repeats a call, when it waits for a 202, how its webhook triggers subscribe.
//
// It plays what was found in documents and captures, and where they leave room,
// what is worse for the server: at-least-once means that the same request may
// come twice. Waits go through Options.Sleep, so that hours pass at once in a
// synctest bubble, or where a test shortens them.
//
//	engine := logicapps.New(logicapps.Options{})
//	run := engine.Flow("post-invoice").Run()
//	out, err := run.HTTP(ctx, logicapps.Action{
//		Name: "Send_and_wait", Method: "POST", URI: url + "/v1/routes/r/messages/wait",
//		Authentication: "Bearer " + key, Headers: map[string]string{"Idempotency-Key": "INV-1"}, Body: body,
//	})
//	// out.Status is Succeeded, out.StatusCode 200; out.Exchanges is every call that was made.
package logicapps

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// SyncTimeout is how long the engine waits for the answer to one request.
const SyncTimeout = 120 * time.Second

// DefaultPoll is the pause before a poll when a 202 has no Retry-After.
const DefaultPoll = 20 * time.Second

// Options of an Engine; the zero value is good.
type Options struct {
	// Transport makes the calls; nil: http.DefaultTransport.
	Transport http.RoundTripper
	// Sleep waits; nil: as long as it says, or until ctx ends. A test without a
	// synctest bubble shortens pauses here.
	Sleep func(ctx context.Context, d time.Duration) error
	// SyncTimeout replaces the 120 s in which a request must be answered.
	SyncTimeout time.Duration
	// LogicApps: headers as Logic Apps sends them, not as Power Automate does.
	LogicApps bool
}

// Engine runs flows. It may be used concurrently.
type Engine struct{ opts Options }

// New makes an engine.
func New(opts Options) *Engine {
	if opts.Transport == nil {
		opts.Transport = http.DefaultTransport
	}
	if opts.Sleep == nil {
		opts.Sleep = sleep
	}
	if opts.SyncTimeout == 0 {
		opts.SyncTimeout = SyncTimeout
	}
	return &Engine{opts: opts}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Flow is a workflow.
type Flow struct {
	engine *Engine
	// Name is x-ms-workflow-name: in Power Automate a GUID. ID and Version are those
	// of the workflow; Environment is sent where it is not empty, which connectors
	// alone do (x-ms-client-environment-id).
	Name, ID, Version, Environment string

	subscription, resourceGroup string
}

// Flow makes a flow; name is shown nowhere in Power Automate, which sends a GUID.
func (e *Engine) Flow(name string) *Flow {
	f := &Flow{
		engine: e, Name: name, ID: strings.ReplaceAll(GUID(), "-", ""), Version: versionText(),
		subscription: GUID(), resourceGroup: "flows",
	}
	if !e.opts.LogicApps {
		f.Name = GUID()
	}
	return f
}

// Run is one run of a flow, or one repetition of an Apply to each in it.
type Run struct {
	flow *Flow
	// ID is x-ms-workflow-run-id. ClientTrackingID is the run's ID, unless the
	// trigger was given another one.
	ID, ClientTrackingID string
	tracking             string
}

// Run starts the flow.
func (f *Flow) Run() *Run {
	id := runID()
	return &Run{flow: f, ID: id, ClientTrackingID: id, tracking: GUID()}
}

// Resubmit runs the flow again with the same input: everything is new but what the
// maker's expressions make of the input.
func (r *Run) Resubmit() *Run { return r.flow.Run() }

// Item is one repetition of an Apply to each: the same run and the same action
// names, and nothing in the headers says which item it is. Actions of different
// items differ in x-ms-action-tracking-id only, as all actions do.
func (r *Run) Item() *Run { return r }

// ForEach runs an Apply to each over n items, at most degree (1 to 50) at a time.
// It ends when all have ended, with the first error.
func (r *Run) ForEach(n, degree int, do func(item *Run, i int) error) error {
	errs := make(chan error, n)
	slots := make(chan struct{}, min(max(degree, 1), 50))
	for i := range n {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			errs <- do(r.Item(), i)
		}()
	}
	var first error
	for range n {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// GUID is a random GUID as the engine writes them.
func GUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

const (
	digits       = "0123456789"
	alphanumeric = digits + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

func pick(n int, alphabet string) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}

func versionText() string { return "0858" + pick(16, digits) }

// runID looks like 08585287380528512345678901234CU21.
func runID() string { return "08585" + pick(25, digits) + "CU" + pick(2, digits) }
