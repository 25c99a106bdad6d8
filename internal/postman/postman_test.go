package postman

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/httpauth"
)

const head = `"info":{"name":"x","schema":"https://schema.getpostman.com/json/collection/v2.1.0/collection.json"}`

// one reads a collection of one request.
func one(t *testing.T, request, more string) Request {
	t.Helper()
	c, err := Decode([]byte(`{` + head + more + `,"item":[{"name":"r","request":` + request + `}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Requests) != 1 {
		t.Fatalf("%d requests", len(c.Requests))
	}
	return c.Requests[0]
}

func TestAddresses(t *testing.T) {
	const variables = `,"variable":[{"key":"baseUrl","value":"{{scheme}}://erp.example/api/"},{"key":"scheme","value":"https"},{"key":"id","value":"a b"},{"key":"loop","value":"{{loop}}"},{"key":"apiKey","value":"GEHEIM"},{"key":"x","value":"GEHEIM","type":"secret"},{"key":"off","value":"1","disabled":true}]`
	for _, c := range []struct{ url, base, path string }{
		{`"{{baseUrl}}/invoices"`, "https://erp.example/api", "/invoices"},
		{`"https://erp.example:8443/api/invoices?x=1#y"`, "https://erp.example:8443", "/api/invoices"},
		{`"erp.example/invoices"`, "https://erp.example", "/invoices"},
		{`{"raw":"{{baseUrl}}/invoices/:id/{{apiKey}}/{{x}}"}`, "https://erp.example/api", "/invoices/{{id}}/{{apiKey}}/{{x}}"},
		{`{"protocol":"http","host":["erp","example"],"port":"81","path":["a","{{id}}"]}`, "http://erp.example:81", "/a/a b"},
		{`{"host":"{{baseUrl}}","path":"a/b"}`, "https://erp.example/api", "/a/b"},
		{`"{{unknown}}/a"`, "", "/a"},
		{`"{{loop}}/a"`, "", "/a"},
		{`"{{off}}/a"`, "", "/a"},
		{`"https://user:GEHEIM@erp.example/a"`, "https://erp.example", "/a"},
		{`"ftp://erp.example/a"`, "", "/a"},
		{`"{{"`, "", "/"},
		{`5`, "", "/"},
		{`null`, "", "/"},
	} {
		q := one(t, `{"method":"post","url":`+c.url+`}`, variables)
		if q.Base != c.base || q.Path != c.path || q.Method != "POST" {
			t.Errorf("%s: %q %q", c.url, q.Base, q.Path)
		}
		hides(t, q)
	}
	if q := one(t, `"https://erp.example/a"`, ""); q.Method != "GET" || q.Path != "/a" {
		t.Errorf("a request that is an address: %+v", q)
	}
}

// hides looks for the secret of the examples.
func hides(t *testing.T, q Request) {
	t.Helper()
	if text, _ := json.Marshal(q); strings.Contains(string(text), "GEHEIM") {
		t.Errorf("a secret shows: %s", text)
	}
}

func TestLogsOn(t *testing.T) {
	for name, c := range map[string]struct {
		request, more string
		want          Auth
	}{
		"key in a header, v2.1":  {`{"auth":{"type":"apikey","apikey":[{"key":"key","value":"X-Key"},{"key":"value","value":"GEHEIM"}]}}`, "", Auth{Config: httpauth.Config{Type: "apiKey", Header: "X-Key"}, Literal: true}},
		"key in the query, v2.0": {`{"auth":{"type":"apikey","apikey":{"key":"k","value":"{{key}}","in":"query"}}}`, "", Auth{Config: httpauth.Config{Type: "apiKey", Query: "k"}}},
		"basic, v2.0":            {`{"auth":{"type":"basic","basic":{"username":"ferry","password":"GEHEIM"}}}`, "", Auth{Config: httpauth.Config{Type: "basic", Username: "ferry"}, Literal: true}},
		"bearer":                 {`{"auth":{"type":"bearer","bearer":[{"key":"token","value":"{{t}}"}]}}`, "", Auth{Config: bearer()}},
		"oauth2":                 {`{"auth":{"type":"oauth2","oauth2":[{"key":"accessTokenUrl","value":"https://login.example/t"},{"key":"clientId","value":"c"},{"key":"clientSecret","value":"GEHEIM"},{"key":"scope","value":"a b"},{"key":"grant_type","value":"client_credentials"}]}}`, "", Auth{Config: httpauth.Config{Type: "oauth2", TokenURL: "https://login.example/t", ClientID: "c", Scopes: []string{"a", "b"}}, Literal: true}},
		"of the collection":      {`{}`, `,"auth":{"type":"bearer","bearer":{"token":"GEHEIM"}}`, Auth{Config: bearer(), Literal: true}},
		"null means inherited":   {`{"auth":null}`, `,"auth":{"type":"bearer","bearer":{}}`, Auth{Config: bearer()}},
		"none":                   {`{"auth":{"type":"noauth"}}`, `,"auth":{"type":"bearer","bearer":{}}`, Auth{}},
		"a header":               {`{"header":[{"key":"authorization","value":"Bearer GEHEIM"}]}`, "", Auth{Config: bearer(), Literal: true}},
		"a basic header":         {`{"header":"Authorization: Basic GEHEIM\nX: y"}`, "", Auth{Config: httpauth.Config{Type: "basic"}, Literal: true}},
		"a key header":           {`{"header":[{"key":"x-functions-key","value":"GEHEIM"}]}`, "", Auth{Config: httpauth.Config{Type: "apiKey", Header: "X-Functions-Key"}, Literal: true}},
		"a query parameter":      {`{"url":"https://erp.example/a?code=GEHEIM"}`, "", Auth{Config: httpauth.Config{Type: "apiKey", Query: "code"}, Literal: true}},
		"another kind":           {`{"auth":{"type":"awsv4"}}`, "", Auth{Note: "the collection logs on by awsv4, for which there is no kind of auth: here"}},
	} {
		t.Run(name, func(t *testing.T) {
			q := one(t, c.request, c.more)
			if diff := cmp.Diff(c.want, q.Auth); diff != "" {
				t.Error(diff)
			}
			hides(t, q)
		})
	}
}

func TestBodies(t *testing.T) {
	for name, c := range map[string]struct {
		body, contentType, unsupported string
		isJSON, example                bool
	}{
		"JSON":              {`{"mode":"raw","raw":"{\"a\":{{b}},\"c\":\"{{d}}\"}","options":{"raw":{"language":"json"}}}`, "", "", true, true},
		"JSON unsaid":       {`{"mode":"raw","raw":"[1]"}`, "", "", true, true},
		"JSON that is none": {`{"mode":"raw","raw":"{","options":{"raw":{"language":"json"}}}`, "", "", true, false},
		"XML":               {`{"mode":"raw","raw":"<a/>","options":{"raw":{"language":"xml"}}}`, "application/xml", "", false, false},
		"text":              {`{"mode":"raw","raw":"a"}`, "", "", false, false},
		"urlencoded":        {`{"mode":"urlencoded"}`, "", "it sends a form (urlencoded), which is not supported", false, false},
		"multipart":         {`{"mode":"formdata"}`, "", "it sends a form (multipart), which is not supported", false, false},
		"graphql":           {`{"mode":"graphql"}`, "", "it sends graphql, which is not supported", false, false},
		"a file":            {`{"mode":"file"}`, "", "", false, false},
		"switched off":      {`{"mode":"urlencoded","disabled":true}`, "", "", false, false},
		"none":              {`null`, "", "", false, false},
	} {
		q := one(t, `{"body":`+c.body+`}`, "")
		if q.ContentType != c.contentType || q.Unsupported != c.unsupported || q.IsJSON != c.isJSON || (q.Body != nil) != c.example {
			t.Errorf("%s: %+v", name, q)
		}
	}
}

// TestHostileCollections: bounded in every way, and no collection is no collection.
func TestHostileCollections(t *testing.T) {
	folders := strings.Repeat(`{"item":[`, 40) + strings.Repeat(`]}`, 40)
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	for name, c := range map[string]struct{ data, want string }{
		"empty":         {"", "not JSON"},
		"no collection": {`{}`, "version 2.0 or 2.1"},
		"version 1":     {`{"requests":[]}`, "version 2.0 or 2.1"},
		"a list":        {`[]`, "another form"},
		"wrong types":   {`{"info":5}`, "info has a form"},
		"a description": {`{"openapi":"3.0.0"}`, "description"},
		"deep":          {`{` + head + `,"x":` + deep + `}`, "nested deeper than 100"},
		"folders":       {`{` + head + `,"item":[` + folders + `]}`, ""},
		"more folders":  {`{` + head + `,"item":[` + strings.Repeat(`{"item":[`, 60) + strings.Repeat(`]}`, 60) + `]}`, "deep"},
		"requests":      {`{` + head + `,"item":[` + strings.Repeat(`{"request":"x"},`, maxRequests) + `{"request":"x"}]}`, "more than 10000 requests"},
		"odd items":     {`{` + head + `,"item":[5,null,"x",{"request":5},{"request":[]},{"item":"x"}]}`, ""},
		"wrapped":       {`{"collection":{` + head + `,"item":[]}}`, ""},
		"wrapped often": {strings.Repeat(`{"collection":`, 90) + `{}` + strings.Repeat(`}`, 90), "version 2.0"},
	} {
		_, err := Decode([]byte(c.data))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	large := filepath.Join(t.TempDir(), "large.json")
	if err := os.WriteFile(large, []byte(strings.Repeat(" ", MaxBytes+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(large); err == nil || !strings.Contains(err.Error(), "10 MiB") {
		t.Error(err)
	}
	// Variables that double each other.
	q := one(t, `{"method":"POST","url":"{{a}}/x","header":[{"key":"X","value":"{{e}}"}]}`, `,"variable":[{"key":"a","value":"{{b}}{{b}}"},{"key":"b","value":"{{a}}{{a}}"},{"key":"e","value":"`+strings.Repeat("{{a}}", 1000)+`"}]`)
	if text, _ := json.Marshal(q); len(text) > 1<<20 {
		t.Errorf("%d bytes", len(text))
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{` + head + `,"item":[{"name":"a","item":[{"name":"b","request":{"method":"POST","url":{"raw":"{{x}}/y?z=1","query":[{"key":"z","value":"1"}]},"header":[{"key":"K","value":"{{v}}"}],"body":{"mode":"raw","raw":"{}"}},"response":[{"code":200,"body":"{}"}]}]}],"variable":[{"key":"x","value":"{{x}}"}]}`,
		`{` + head + `,"auth":{"type":"basic","basic":[{"key":"username","value":"u"}]},"item":[{"request":"https://a/b"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Decode(data)
		if err != nil {
			var edge *ferry.Error
			if !errors.As(err, &edge) || edge.Code != ferry.CodeBadConfig {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		for _, q := range c.Requests {
			if q.Auth.Config.Key != "" || q.Auth.Config.Password != "" || q.Auth.Config.ClientSecret != "" {
				t.Fatal("a secret was kept")
			}
		}
	})
}
