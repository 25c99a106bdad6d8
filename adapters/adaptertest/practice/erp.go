package practice

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of a practice ERP.
const (
	MaxBody      = 4 << 20 // of an invoice, bytes
	MaxDocuments = 200_000 // then it answers 507
	MaxFaults    = 1000    // waiting to be met
)

// OnDuplicate says what a second create under a known key does.
type OnDuplicate string

// The ways to treat a second create.
const (
	WriteAgain OnDuplicate = ""         // it writes another document: nothing is unique
	Conflict   OnDuplicate = "conflict" // 409 that names the document
	BareError  OnDuplicate = "error"    // 500 that says nothing
	Repeat     OnDuplicate = "repeat"   // 200 with the first document: the key is honoured
)

// Settings are how an ERP behaves besides its faults.
type Settings struct {
	OnDuplicate OnDuplicate `json:"onDuplicate"`
	Required    []string    `json:"required"` // members that a JSON invoice must have
	// OrderBy is the member of a JSON invoice that is its ordering key, with
	// letters or digits in it: documents then tell their place within the key.
	OrderBy string `json:"orderBy"`
	// Seed of what faults leave to chance. The same seed, external key and number
	// of the call always draw alike.
	Seed  uint64 `json:"seed"`
	Later Later  `json:"later"` // creates are answered later
	// Dialect is what the ERP speaks, one of [Dialects]; empty: rest. It cannot be
	// changed afterwards.
	Dialect string `json:"dialect"`
}

// Document is what the ERP wrote.
type Document struct {
	ID          string          `json:"id"` // its number
	ExternalID  string          `json:"externalId"`
	MessageID   string          `json:"messageId,omitempty"`
	ContentType string          `json:"contentType,omitempty"`
	CreatedAt   time.Time       `json:"createdAt"`
	OrderingKey string          `json:"orderingKey,omitempty"` // what Settings.OrderBy names
	Place       int             `json:"place,omitempty"`       // among the documents of its ordering key, from 1, as they were written
	Body        json.RawMessage `json:"body,omitempty"`        // JSON as it came
	Text        string          `json:"text,omitempty"`        // anything else as it came
	Status      string          `json:"status,omitempty"`      // in the system's words, where documents have one
	RequestID   string          `json:"requestId,omitempty"`   // the sender's name of the request, in dialects that have one
	Appended    int             `json:"appended,omitempty"`    // how often the lines of another create were appended to it

	version   int    // how often it was changed
	requestID string // the sender's, of the request that wrote it
	upsert    bool   // a create that writes over the document of its key
}

// State is what an ERP has seen.
type State struct {
	Calls         map[string]int `json:"calls"` // by Op
	Met           map[string]int `json:"met"`   // faults that calls met, by FaultKind
	Documents     int            `json:"documents"`
	MaxConcurrent int            `json:"maxConcurrent"` // creates at a time
	WrittenTwice  []string       `json:"writtenTwice"`  // keys with more than one document, at most 100
	// Overlapped are ordering keys with two creates at a time, at most 100. A
	// create lasts until its call has ended and its late write is done.
	Overlapped []string `json:"overlapped"`
	Callbacks  []int    `json:"callbacks"` // statuses that its calls back were answered with
}

// Op is a kind of call.
type Op string

// The kinds of calls.
const (
	OpCreate Op = "create"
	OpLookup Op = "lookup"
	OpPing   Op = "ping"
	OpPoll   Op = "poll"
	OpFinish Op = "finish" // writes over a document, or acts on it after it was created, such as posting
	OpLogon  Op = "logon"  // in dialects with sessions
)

// ERP is a practice ERP, an http.Handler. Make it with New; Close ends late
// writes that have not happened yet.
type ERP struct {
	mux     *http.ServeMux
	apiKey  string
	dialect string
	mode    mode

	mu        sync.Mutex
	settings  Settings
	documents []Document
	byKey     map[string][]int // indexes into documents
	places    map[string]int   // documents by ordering key
	faults    []Fault
	met       map[string]int
	drawn     map[string]int // calls that chance was asked about, by Op and external key
	open      map[string]int // creates that last, by ordering key
	overlaps  []string
	calls     map[string]int
	running   int
	highest   int
	timers    map[*time.Timer]struct{}
	callbacks []int // statuses of the answers

	operations map[string]*operation
	closed     bool
}

// New makes an ERP without documents. A key that is not empty must then come
// with every call but the ping: in X-Api-Key, as the password of basic
// authentication, as a bearer token, or as the secret of "token NAME:SECRET". A
// dialect that is not known is rest.
func New(apiKey string, settings Settings) *ERP {
	e := &ERP{
		mux: http.NewServeMux(), apiKey: apiKey, settings: settings,
		byKey: map[string][]int{}, places: map[string]int{}, met: map[string]int{}, drawn: map[string]int{}, open: map[string]int{},
		calls: map[string]int{}, timers: map[*time.Timer]struct{}{}, operations: map[string]*operation{},
	}
	e.dialect = dialectOf(settings)
	e.mode = modes()[e.dialect](e)
	e.mode.mount(e)
	e.mux.HandleFunc("GET /operations/{id}", e.guard(e.poll))
	e.mux.HandleFunc("GET /ping", e.ping)
	e.mux.HandleFunc("GET /documents", e.guard(e.list))
	e.mux.HandleFunc("GET /_state", e.guard(e.state))
	e.mux.HandleFunc("POST /_faults", e.guard(e.addFaults))
	e.mux.HandleFunc("DELETE /_faults", e.guard(func(w http.ResponseWriter, _ *http.Request) {
		e.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	}))
	e.mux.HandleFunc("PUT /_settings", e.guard(e.putSettings))
	return e
}

func dialectOf(s Settings) string {
	if _, known := modes()[s.Dialect]; !known {
		return "rest"
	}
	return s.Dialect
}

// ServeHTTP answers a call.
func (e *ERP) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.mux.ServeHTTP(w, r) }

// Documents gives what was written under a key, or everything for "".
func (e *ERP) Documents(key string) []Document {
	e.mu.Lock()
	defer e.mu.Unlock()
	if key == "" {
		return append([]Document{}, e.documents...)
	}
	out := []Document{}
	for _, i := range e.byKey[key] {
		out = append(out, e.documents[i])
	}
	return out
}

// Calls is how often a kind of call came in, answered or not.
func (e *ERP) Calls(op Op) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[string(op)]
}

// State tells what the ERP has seen.
func (e *ERP) State() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := State{
		Calls: maps.Clone(e.calls), Met: maps.Clone(e.met), Documents: len(e.documents), MaxConcurrent: e.highest,
		WrittenTwice: []string{}, Overlapped: append([]string{}, e.overlaps...), Callbacks: append([]int{}, e.callbacks...),
	}
	for key, at := range e.byKey {
		if (len(at) > 1 || e.documents[at[0]].Appended > 0) && len(s.WrittenTwice) < 100 {
			s.WrittenTwice = append(s.WrittenTwice, key)
		}
	}
	return s
}

// Set changes the settings.
func (e *ERP) Set(s Settings) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settings = s
}

// Close stops late writes. Calls that hang end with their callers.
func (e *ERP) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for t := range e.timers {
		t.Stop()
	}
	clear(e.timers)
}

// guard asks for the API key.
func (e *ERP) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("X-Api-Key")
		if _, password, ok := r.BasicAuth(); ok {
			key = password
		}
		switch scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.ToLower(scheme) {
		case "bearer":
			key = rest
		case "token":
			key = rest[strings.IndexByte(rest, ':')+1:]
		}
		if e.apiKey != "" && subtle.ConstantTimeCompare([]byte(key), []byte(e.apiKey)) != 1 {
			e.mode.refuse(w, failure{status: http.StatusUnauthorized, code: "unauthorized", text: "the API key is missing or wrong"})
			return
		}
		next(w, r)
	}
}

// write makes a document. It gives its number, or what keeps it from that.
func (e *ERP) write(d Document) (Document, int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if known := e.byKey[d.ExternalID]; len(known) > 0 && d.ExternalID != "" {
		first := &e.documents[known[0]]
		if status := e.repeatLocked(first, d); status != 0 {
			return *first, status
		}
	}
	if len(e.documents) >= MaxDocuments {
		return Document{}, http.StatusInsufficientStorage
	}
	d.ID = fmt.Sprintf("INV-%06d", len(e.documents)+1)
	d.CreatedAt = time.Now().UTC()
	if d.OrderingKey != "" {
		e.places[d.OrderingKey]++
		d.Place = e.places[d.OrderingKey]
	}
	e.byKey[d.ExternalID] = append(e.byKey[d.ExternalID], len(e.documents))
	e.documents = append(e.documents, d)
	return d, http.StatusCreated
}

// byNumber gives the document of a number.
func (e *ERP) byNumber(number string) (Document, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n, err := strconv.Atoi(strings.TrimPrefix(number, "INV-"))
	if err != nil || n < 1 || n > len(e.documents) || e.documents[n-1].ID != number {
		return Document{}, false
	}
	return e.documents[n-1], true
}

// writeLater writes after a while, whatever has become of the call.
func (e *ERP) writeLater(d Document, after time.Duration) {
	e.mu.Lock()
	written := e.lastsLocked(d.OrderingKey)
	e.mu.Unlock()
	e.after(after, func() {
		e.write(d)
		written()
	})
}

// count notes a call; for creates also how many run at a time. The result ends it.
func (e *ERP) count(op Op) func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls[string(op)]++
	if op != OpCreate {
		return func() {}
	}
	e.running++
	e.highest = max(e.highest, e.running)
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.running--
	}
}

// lasts notes a create of an ordering key until the result is called, and
// whether it meets another one: who sends them in order never has two.
func (e *ERP) lasts(orderingKey string) (over func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open[orderingKey] > 0 && len(e.overlaps) < 100 && !slices.Contains(e.overlaps, orderingKey) {
		e.overlaps = append(e.overlaps, orderingKey)
	}
	return e.lastsLocked(orderingKey)
}

// lastsLocked is lasts for a write that goes on after its own call.
func (e *ERP) lastsLocked(orderingKey string) (over func()) {
	if orderingKey == "" {
		return func() {}
	}
	e.open[orderingKey]++
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.open[orderingKey]--; e.open[orderingKey] == 0 {
			delete(e.open, orderingKey)
		}
	}
}
