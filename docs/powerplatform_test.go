package docs_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ferry"
	"ferry/api"
	"ferry/config"
	"ferry/connector"
)

type tree = map[string]any

func below(m tree, names ...string) tree {
	for _, name := range names {
		m, _ = m[name].(tree)
	}
	return m
}

// powerPlatform is the page, and the connector of the route that it sets up.
func powerPlatform(t *testing.T) (text string, definition tree) {
	t.Helper()
	text = read(t, "power-platform.md")
	block := func(marker, kind string) string {
		_, rest, found := strings.Cut(text, marker)
		_, body, ok := strings.Cut(rest, "```"+kind+"\n")
		body, _, _ = strings.Cut(body, "```")
		if !found || !ok {
			t.Fatalf("no block of %s behind %q", kind, marker)
		}
		return body
	}
	yaml, schema := block("`broker.yaml`:", "yaml"), block("`supplier-invoice.json`:", "json")
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{"broker.yaml": yaml, "supplier-invoice.json": schema} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.LoadBroker("broker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	made, err := connector.Make(cfg.FerryRoutes(), connector.Options{PublicURL: cfg.PublicURL})
	if err != nil || len(made.Notes) > 0 {
		t.Fatalf("%v, notes %q", err, made.Notes)
	}
	for _, name := range append(connector.FileNames(), "/connector/") {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("the page does not name %s", name)
		}
	}
	if err := json.Unmarshal(made.Files[0].Data, &definition); err != nil {
		t.Fatal(err)
	}
	return text, definition
}

// operations are those of the definition that makers see, by id.
func operations(definition tree) map[string]tree {
	ops := map[string]tree{}
	for _, item := range below(definition, "paths") {
		for _, v := range item.(tree) {
			if op, ok := v.(tree); ok && op["operationId"] != nil && op["x-ms-visibility"] != "internal" {
				ops[op["operationId"].(string)] = op
			}
		}
	}
	return ops
}

// TestPowerPlatformNamesAreTrue: every action, trigger and field that the page names
// is in the connector of its own route, and every action of that is on the page.
func TestPowerPlatformNamesAreTrue(t *testing.T) {
	text, definition := powerPlatform(t)
	ops := operations(definition)
	summaries := map[string]bool{}
	for id, op := range ops {
		summary := op["summary"].(string)
		summaries[summary] = true
		if row := "| " + summary + " | `" + id + "` |"; !strings.Contains(text, row) {
			t.Errorf("the page has no row %s", row)
		}
	}
	if rows := regexp.MustCompile("(?m)^\\| [^|]+ \\| `[A-Z]\\w+` \\|").FindAllString(text, -1); len(rows) != len(ops) {
		t.Errorf("%d rows for %d operations", len(rows), len(ops))
	}
	titles := map[string]bool{"Broker Host": true}
	var collect func(v any)
	collect = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				collect(e)
			}
		case tree:
			if title, ok := v["x-ms-summary"].(string); ok {
				titles[title] = true
			}
			for _, e := range v {
				collect(e)
			}
		}
	}
	collect(definition)
	named := 0
	for _, m := range regexp.MustCompile(`\*\*([^*]+)\*\*`).FindAllStringSubmatch(text, -1) {
		name := strings.Join(strings.Fields(m[1]), " ")
		if ours := regexp.MustCompile(`^(Send|When|Get|Check) .* |^(Message ID|Session ID|Correlation ID|Deliver At|Time To Live|On Conflict|Wait For|State|Reference|Dead Letter .*|Owner .*|Flow Run .*|Route)$`); !ours.MatchString(name) || name == "Send an email" || name == "Send to …" {
			continue
		}
		if named++; !summaries[name] && !titles[name] {
			t.Errorf("the connector has no %q", name)
		}
	}
	if named < 20 {
		t.Errorf("only %d names are told", named)
	}
	for _, p := range ops["SendAndWaitToSupplierInvoices"]["parameters"].([]any) {
		if title := p.(tree)["x-ms-summary"].(string); p.(tree)["in"] == "query" && !strings.Contains(strings.Join(strings.Fields(text), " "), "**"+title+"**") {
			t.Errorf("the page does not name %s", title)
		}
	}
}

// TestPowerPlatformSamplesAreTrue: each sample of JSON is what a designer writes, or
// what the broker answers.
func TestPowerPlatformSamplesAreTrue(t *testing.T) {
	commands := brokerCommands(t)
	text, definition := powerPlatform(t)
	answer := httptest.NewRecorder()
	api.New(nil, api.Options{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	var surface tree
	if err := json.Unmarshal(answer.Body.Bytes(), &surface); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, m := range regexp.MustCompile("(?s)```json ([\\w ]+)\n(.*?)```").FindAllStringSubmatch(text, -1) {
		var sample tree
		if err := json.Unmarshal([]byte(m[2]), &sample); err != nil {
			t.Errorf("%s: %v", m[1], err)
			continue
		}
		kind, id, http := strings.Cut(m[1], " ")
		kinds[kind]++
		switch {
		case http:
			checkHTTP(t, surface, id, sample)
		case below(definition, "definitions")[kind] != nil:
			checkAnswer(t, kind, m[2], below(definition, "definitions", kind), sample)
		default:
			checkAction(t, definition, kind, sample)
		}
	}
	for _, want := range []string{"http", "Message", "AcceptedMessage", "Problem", "SendAndWaitToSupplierInvoices", "WhenMessageDeadLettered"} {
		if kinds[want] == 0 {
			t.Errorf("there is no sample of %s", want)
		}
	}
	// Calls that are named in the text.
	paths := below(surface, "paths")
	for _, m := range regexp.MustCompile("`(?:(GET|POST|DELETE) )?(/v1/[^`? ]+|/connector/)`").FindAllStringSubmatch(text, -1) {
		if item := below(paths, m[2]); item == nil || m[1] != "" && item[strings.ToLower(m[1])] == nil {
			t.Errorf("there is no call %s", m[0])
		}
	}
	for _, m := range regexp.MustCompile("`broker ([a-z]+(?: [a-z]+)?)").FindAllStringSubmatch(text, -1) {
		if !slices.ContainsFunc(commands, func(c string) bool { return strings.HasPrefix(c+" ", m[1]+" ") }) {
			t.Errorf("there is no command %s", m[1])
		}
	}
}

// brokerCommands are those of the program.
func brokerCommands(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../cmd/broker/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, file := range files {
		source.WriteString(read(t, file))
	}
	return commandsOf(source.String(), "commands", "")
}

// checkAction: the operation is there, and takes what the sample gives.
func checkAction(t *testing.T, definition tree, id string, sample tree) {
	t.Helper()
	op := operations(definition)[id]
	if op == nil || below(sample, "inputs", "host")["operationId"] != id {
		t.Errorf("%s is no operation", id)
		return
	}
	if want := map[bool]string{true: "OpenApiConnectionWebhook", false: "OpenApiConnection"}[op["x-ms-trigger"] != nil]; sample["type"] != want {
		t.Errorf("%s has the type %v, want %s", id, sample["type"], want)
	}
	given := below(sample, "inputs", "parameters")
	var names []string
	for _, v := range op["parameters"].([]any) {
		p := v.(tree)
		if p["in"] != "body" {
			names = append(names, p["name"].(string))
			continue
		}
		schema := below(p, "schema")
		if ref, ok := schema["$ref"].(string); ok {
			schema = below(definition, "definitions", ref[strings.LastIndexByte(ref, '/')+1:])
		}
		names = append(names, leaves(t, id, "body", schema, given, true)...)
	}
	for name := range given {
		if !slices.Contains(names, name) {
			t.Errorf("%s takes no %s, but %q", id, name, names)
		}
	}
}

// leaves are the parameters of a body as designers write them; those that have to be
// given are.
func leaves(t *testing.T, id, at string, schema, given tree, required bool) (names []string) {
	t.Helper()
	fields := below(schema, "properties")
	if len(fields) == 0 {
		if _, ok := given[at]; required && !ok && schema["x-ms-visibility"] != "internal" && schema["default"] == nil {
			t.Errorf("%s needs %s", id, at)
		}
		return []string{at}
	}
	must, _ := schema["required"].([]any)
	for name, v := range fields {
		names = append(names, leaves(t, id, at+"/"+name, v.(tree), given, required && slices.Contains(must, any(name)))...)
	}
	return names
}

// checkAnswer: each member is one that the broker writes, and those that makers see
// are described.
func checkAnswer(t *testing.T, kind, text string, schema, sample tree) {
	t.Helper()
	into := map[string]any{"Message": &ferry.Envelope{}, "AcceptedMessage": &ferry.Accepted{}, "Problem": &api.Problem{}}[kind]
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if into == nil {
		t.Errorf("%s is the answer of nothing", kind)
	} else if err := d.Decode(into); err != nil {
		t.Errorf("%s: %v", kind, err)
	}
	described := 0
	for name := range sample {
		if below(schema, "properties")[name] != nil {
			described++
		}
	}
	if described < 5 {
		t.Errorf("%s: only %d members are described", kind, described)
	}
}

// checkHTTP: the HTTP action calls what there is, with headers that mean something.
func checkHTTP(t *testing.T, surface tree, id string, sample tree) {
	t.Helper()
	inputs := below(sample, "inputs")
	u, err := url.Parse(inputs["uri"].(string))
	if err != nil {
		t.Fatal(err)
	}
	path := strings.Replace(u.Path, "/supplier-invoices/", "/{route}/", 1)
	op := below(surface, "paths", path, strings.ToLower(inputs["method"].(string)))
	if op["operationId"] != id || u.Scheme != "https" {
		t.Fatalf("%s calls %v", u, op["operationId"])
	}
	known := []string{"Content-Type", "Ocp-Apim-Subscription-Key"}
	for _, v := range op["parameters"].([]any) {
		if p := v.(tree); p["in"] == "header" {
			known = append(known, p["name"].(string))
		}
	}
	for name := range below(inputs, "headers") {
		if !slices.Contains(known, name) {
			t.Errorf("the header %s means nothing", name)
		}
	}
	if sample["operationOptions"] != "DisableAsyncPattern" || below(inputs, "retryPolicy")["type"] != "exponential" {
		t.Errorf("not what the page advises: %v", sample)
	}
}
