package erp_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"ferry"
	"ferry/adapters"
)

// lines are the requests of a script, one a line, with If-Match where it was there.
func (s *odataScript) lines() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, h := range s.heard {
		line := h.method + " " + h.uri
		if tag := h.header.Get("If-Match"); tag != "" {
			line += " If-Match: " + tag
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// TestODataWritesOverWhatItRead: with the ETag of what was read, from the document
// or from the header; what changed meanwhile is read and written once more, and
// no more than once.
func TestODataWritesOverWhatItRead(t *testing.T) {
	update := adapters.RouteConfig{Entity: "Suppliers", Map: `{name: .supplier}`, Write: "update", Key: map[string]string{"code": ".no | tostring"}}
	upsert := update
	upsert.Write = "upsert"
	put := update
	put.Method = "PUT"
	const missing = `{"error":{"code":"404","message":"Not Found"}}`
	read := func(tag string) odataSaid {
		return odataSaid{200, nil, `{"@odata.etag":"` + tag + `","code":"4711","name":"old"}`}
	}
	for name, c := range map[string]struct {
		dest    adapters.DestinationConfig
		route   adapters.RouteConfig
		answers []odataSaid
		kind    ferry.VerdictKind
		effect  ferry.Effect
		lines   string
	}{
		"update": {
			adapters.DestinationConfig{},
			update,
			[]odataSaid{read("e1"), {200, nil, `{"code":"4711"}`}},
			ferry.Delivered, ferry.EffectDone,
			"GET /Suppliers(code=%274711%27)\nPATCH /Suppliers(code=%274711%27) If-Match: e1",
		},
		"update by PUT": {
			adapters.DestinationConfig{},
			put,
			[]odataSaid{read("e1"), {204, nil, ``}},
			ferry.Delivered, ferry.EffectDone,
			"GET /Suppliers(code=%274711%27)\nPUT /Suppliers(code=%274711%27) If-Match: e1",
		},
		"V2 has MERGE, and the ETag in __metadata": {
			adapters.DestinationConfig{Version: "v2"},
			update,
			[]odataSaid{{200, nil, `{"d":{"__metadata":{"etag":"W/\"2\""},"code":"4711"}}`}, {204, nil, ``}},
			ferry.Delivered, ferry.EffectDone,
			"GET /Suppliers(code=%274711%27)?$format=json\nMERGE /Suppliers(code=%274711%27) If-Match: W/\"2\"",
		},
		"the ETag of the header": {
			adapters.DestinationConfig{},
			update,
			[]odataSaid{{200, map[string]string{"ETag": `W/"h"`}, `{"code":"4711"}`}, {204, nil, ``}},
			ferry.Delivered, ferry.EffectDone,
			"GET /Suppliers(code=%274711%27)\nPATCH /Suppliers(code=%274711%27) If-Match: W/\"h\"",
		},
		"no ETag: still it may not create": {
			adapters.DestinationConfig{},
			update,
			[]odataSaid{{200, nil, `{"code":"4711"}`}, {204, nil, ``}},
			ferry.Delivered, ferry.EffectDone,
			"GET /Suppliers(code=%274711%27)\nPATCH /Suppliers(code=%274711%27) If-Match: *",
		},
		"stale: read and written once more": {
			adapters.DestinationConfig{},
			update,
			[]odataSaid{read("e1"), {412, nil, ``}, read("e2"), {200, nil, `{"code":"4711"}`}},
			ferry.Delivered, ferry.EffectDone,
			"GET /Suppliers(code=%274711%27)\nPATCH /Suppliers(code=%274711%27) If-Match: e1\nGET /Suppliers(code=%274711%27)\nPATCH /Suppliers(code=%274711%27) If-Match: e2",
		},
		"stale again: no third time": {
			adapters.DestinationConfig{},
			update,
			[]odataSaid{read("e1"), {412, nil, ``}, read("e2"), {412, nil, ``}},
			ferry.Failed, ferry.EffectNone,
			"GET /Suppliers(code=%274711%27)\nPATCH /Suppliers(code=%274711%27) If-Match: e1\nGET /Suppliers(code=%274711%27)\nPATCH /Suppliers(code=%274711%27) If-Match: e2",
		},
		"update of what is not there": {
			adapters.DestinationConfig{}, update, []odataSaid{{404, nil, missing}}, ferry.Rejected, ferry.EffectNone, "GET /Suppliers(code=%274711%27)",
		},
		"an address that is wrong is not absent": {
			adapters.DestinationConfig{}, upsert, []odataSaid{{404, nil, `{"error":{"code":"404","message":"Invalid resource path \"Suppliers\""}}`}}, ferry.Failed, ferry.EffectNone, "GET /Suppliers(code=%274711%27)",
		},
		"a proxy's 404 is not absent": {
			adapters.DestinationConfig{}, upsert, []odataSaid{{404, nil, `<html>no such page</html>`}}, ferry.Failed, ferry.EffectNone, "GET /Suppliers(code=%274711%27)",
		},
		"SAP: no such set": {
			adapters.DestinationConfig{}, upsert, []odataSaid{{404, nil, `{"error":{"code":"005056A509B11EE1B9A8FEC11C21D78E","message":{"value":"Resource not found for the segment 'Suppliers'."}}}`}}, ferry.Failed, ferry.EffectNone, "GET /Suppliers(code=%274711%27)",
		},
		"SAP: no such service": {
			adapters.DestinationConfig{}, upsert, []odataSaid{{404, nil, `{"error":{"code":"/IWFND/MED/170","message":{"value":"No service found"}}}`}}, ferry.Unauthorized, ferry.EffectNone, "GET /Suppliers(code=%274711%27)",
		},
		"upsert creates": {
			adapters.DestinationConfig{},
			upsert,
			[]odataSaid{{404, nil, missing}, {201, nil, `{"code":"4711"}`}},
			ferry.Delivered, ferry.EffectDone,
			"GET /Suppliers(code=%274711%27)\nPOST /Suppliers",
		},
		"SAP: no such document": {
			adapters.DestinationConfig{},
			upsert,
			[]odataSaid{{404, nil, `{"error":{"code":"/IWBEP/CM_MGW_RT/020","message":{"value":"Resource not found for segment 'SupplierType'"}}}`}, {201, nil, `{"code":"4711"}`}},
			ferry.Delivered, ferry.EffectDone,
			"GET /Suppliers(code=%274711%27)\nPOST /Suppliers",
		},
		"upsert writes over": {
			adapters.DestinationConfig{},
			upsert,
			[]odataSaid{read("e1"), {200, nil, `{"code":"4711"}`}},
			ferry.Delivered, ferry.EffectDone,
			"GET /Suppliers(code=%274711%27)\nPATCH /Suppliers(code=%274711%27) If-Match: e1",
		},
	} {
		s := &odataScript{answers: c.answers}
		v := odataRoute(t, s, c.dest, c.route).Deliver(t.Context(), odataCall("K"))
		if v.Kind != c.kind || v.Effect != c.effect || s.lines() != c.lines {
			t.Errorf("%s: %s, effect %s, %q\n%s\nwant %s, %s\n%s", name, v.Kind, v.Effect, v.Text, s.lines(), c.kind, c.effect, c.lines)
		}
		if v.Kind == ferry.Delivered && v.Reference != "4711" {
			t.Errorf("%s: reference %q", name, v.Reference)
		}
	}
	// What is posted bears its key, though the map leaves it out.
	s := &odataScript{answers: []odataSaid{{404, nil, missing}, {201, nil, `{"code":"4711"}`}}}
	odataRoute(t, s, adapters.DestinationConfig{}, upsert).Deliver(t.Context(), odataCall("K"))
	if s.heard[1].body != `{"code":"4711","name":"O'Neil & Co"}` {
		t.Error(s.heard[1].body)
	}
}

// TestODataFinishes: the act after the create is addressed by the document's own
// key, wherever its address is odataSaid to be; the second attempt asks first.
func TestODataFinishes(t *testing.T) {
	v4 := adapters.RouteConfig{Entity: "Invoices(ID:guid)", Map: "{supplier}", KeyField: "Ref", Finish: "Service.release", Finished: `.status == "released"`}
	v2 := adapters.RouteConfig{Entity: "A_SupplierInvoice", Map: "{supplier}", KeyField: "Ref", Finish: "Release?DiscountDaysHaveToBeShifted=false", Finished: `.status == "released"`, Reference: ".No"}
	const id = "018f6d6e-7b2a-7c3d-9e4f-001122334455"
	document := func(status string) string {
		return `{"@odata.etag":"e1","ID":"` + id + `","status":"` + status + `"}`
	}
	const metadata = `"__metadata":{"uri":"https://s4-internal:44300/x/A_SupplierInvoice(No='51%2F1',FiscalYear='2026')","etag":"e1"},"No":"51/1"`
	for name, c := range map[string]struct {
		version string
		route   adapters.RouteConfig
		number  int
		answers []odataSaid
		kind    ferry.VerdictKind
		lines   string
	}{
		"V4 create and act": {
			"", v4, 1,
			[]odataSaid{{201, nil, document("draft")}, {200, nil, document("released")}},
			ferry.Delivered,
			"POST /Invoices\nPOST /Invoices(ID=" + id + ")/Service.release If-Match: e1",
		},
		"V2 create and function import": {
			"v2", v2, 1,
			[]odataSaid{{201, nil, `{"d":{` + metadata + `}}`}, {200, nil, `{"d":{}}`}},
			ferry.Delivered,
			"POST /A_SupplierInvoice\nPOST /Release?No=%2751%2F1%27&FiscalYear=%272026%27&DiscountDaysHaveToBeShifted=false If-Match: e1",
		},
		"the act is refused: the document is there": {
			"", v4, 1,
			[]odataSaid{{201, nil, document("draft")}, {400, nil, `{"error":{"code":"X","message":"no"}}`}},
			ferry.Rejected,
			"POST /Invoices\nPOST /Invoices(ID=" + id + ")/Service.release If-Match: e1",
		},
		"from the second attempt on it is asked for": {
			"", v4, 2,
			[]odataSaid{{200, nil, `{"value":[` + document("draft") + `]}`}, {200, nil, `{}`}},
			ferry.Delivered,
			"GET /Invoices?$filter=Ref%20eq%20%27K%27&$top=2\nPOST /Invoices(ID=" + id + ")/Service.release If-Match: e1",
		},
		"it was done already": {
			"", v4, 2,
			[]odataSaid{{200, nil, `{"value":[` + document("released") + `]}`}},
			ferry.Duplicate,
			"GET /Invoices?$filter=Ref%20eq%20%27K%27&$top=2",
		},
		"two of them: nothing is written": {
			"", v4, 2,
			[]odataSaid{{200, nil, `{"value":[` + document("draft") + `,` + document("draft") + `]}`}},
			ferry.Unknown,
			"GET /Invoices?$filter=Ref%20eq%20%27K%27&$top=2",
		},
	} {
		s := &odataScript{answers: c.answers}
		call := odataCall("K")
		call.Number = c.number
		v := odataRoute(t, s, adapters.DestinationConfig{Version: c.version}, c.route).Deliver(t.Context(), call)
		if v.Kind != c.kind || s.lines() != c.lines {
			t.Errorf("%s: %s, %q\n%s\nwant %s\n%s", name, v.Kind, v.Text, s.lines(), c.kind, c.lines)
		}
	}
}

const (
	fault2  = `{"error":{"code":"ASSERT","message":"Provide the missing value.","target":"name"}}`
	mixedOK = "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" +
		"--c\r\nContent-Type: application/http\r\nContent-ID: 1\r\n\r\nHTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{\"d\":{\"ID\":\"1\"}}\r\n" +
		"--c\r\nContent-Type: application/http\r\nContent-ID: 2\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n\r\n" +
		"--c--\r\n\r\n--b--\r\n"
	mixedFault = "--b\r\nContent-Type: application/http\r\nContent-ID: 2\r\n\r\nHTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\r\n" + fault2 + "\r\n--b--\r\n"
)

// TestODataBatch: every part has to be a success. An overall 200 says nothing, and
// neither does a part that was "created" beside one that was not.
func TestODataBatch(t *testing.T) {
	route := adapters.RouteConfig{
		Entity: "Invoices(ID)", KeyField: "Ref", Batch: true,
		Map: `[{url: "Invoices", body: {supplier}}, {method: "patch", url: "Suppliers(1)", headers: {"If-Match": "*"}, body: {name: .supplier}}]`,
	}
	jsonAnswer := func(parts string) odataSaid {
		return odataSaid{200, map[string]string{"Content-Type": "application/json"}, `{"responses":[` + parts + `]}`}
	}
	mixed := map[string]string{"Content-Type": "multipart/mixed; boundary=b", "X-Correlation-Id": "corr-1"}
	const one, two = `{"id":"1","status":201,"headers":{"location":"Invoices('1')"},"body":{"ID":"1"}}`, `{"id":"2","status":204}`
	for name, c := range map[string]struct {
		version, contentType string
		odataSaid            odataSaid
		kind                 ferry.VerdictKind
		effect               ferry.Effect
		status               int
		text                 string
	}{
		"JSON":                         {"", "", jsonAnswer(one + "," + two), ferry.Delivered, ferry.EffectDone, 201, ""},
		"part 2 is refused":            {"", "", jsonAnswer(one + `,{"id":"2","status":400,"body":` + fault2 + `}`), ferry.Rejected, ferry.EffectNone, 400, "request 2: Provide the missing value."},
		"the others depended on it":    {"", "", jsonAnswer(`{"id":"1","status":424},{"id":"2","status":400,"body":` + fault2 + `}`), ferry.Rejected, ferry.EffectNone, 400, "request 2"},
		"a part is a duplicate":        {"", "", jsonAnswer(one + `,{"id":"2","status":500,"body":{"error":{"code":"SQLITE_CONSTRAINT_UNIQUE","message":"x"}}}`), ferry.Unknown, ferry.EffectMaybe, 500, "x"},
		"a part is throttled":          {"", "", jsonAnswer(one + `,{"id":"2","status":429}`), ferry.Throttled, ferry.EffectNone, 429, ""},
		"a part is missing":            {"", "", jsonAnswer(one), ferry.Unknown, ferry.EffectMaybe, 0, "1 answers to 2 requests"},
		"garbled":                      {"", "", odataSaid{200, map[string]string{"Content-Type": "application/json"}, `{"responses":[` + one}, ferry.Unknown, ferry.EffectMaybe, 0, "does not tell"},
		"something else":               {"", "", odataSaid{200, map[string]string{"Content-Type": "text/html"}, `<html>`}, ferry.Unknown, ferry.EffectMaybe, 0, "does not tell"},
		"V2":                           {"v2", "", odataSaid{202, mixed, mixedOK}, ferry.Delivered, ferry.EffectDone, 201, ""},
		"V2, the changeset is refused": {"v2", "", odataSaid{202, mixed, mixedFault}, ferry.Rejected, ferry.EffectNone, 400, "request 2: Provide the missing value."},
		"V2, cut short":                {"v2", "", odataSaid{202, mixed, mixedOK[:len(mixedOK)-8]}, ferry.Unknown, ferry.EffectMaybe, 0, "ended early"},
		"V2, cut within a part":        {"v2", "", odataSaid{202, mixed, mixedOK[:200]}, ferry.Unknown, ferry.EffectMaybe, 0, "does not tell"},
		"V4 as multipart":              {"", "multipart/mixed", odataSaid{200, mixed, mixedOK}, ferry.Delivered, ferry.EffectDone, 201, ""},
		"the whole is refused":         {"v2", "", odataSaid{403, nil, ``}, ferry.Unauthorized, ferry.EffectNone, 403, ""},
		"the whole is unavailable":     {"", "", odataSaid{503, nil, ``}, ferry.Unavailable, ferry.EffectNone, 503, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &odataScript{answers: []odataSaid{c.odataSaid}}
			own := route
			own.ContentType = c.contentType
			v := odataRoute(t, s, adapters.DestinationConfig{URL: "/srv?x=1", Version: c.version}, own).Deliver(t.Context(), odataCall("K"))
			if v.Kind != c.kind || v.Effect != c.effect || v.Status != c.status || !strings.Contains(v.Text, c.text) {
				t.Errorf("%s, effect %s, status %d, %q; want %s, %s, %d", v.Kind, v.Effect, v.Status, v.Text, c.kind, c.effect, c.status)
			}
			if v.Kind == ferry.Delivered && v.Reference != "1" {
				t.Errorf("reference %q", v.Reference)
			}
			if v.Kind == ferry.Rejected && (len(v.Fields) != 1 || v.Fields[0].Field != "name") {
				t.Errorf("fields %+v", v.Fields)
			}
			if c.odataSaid.header["X-Correlation-Id"] != "" && v.Status != 0 && v.RemoteCorrelationID != "corr-1" {
				t.Errorf("correlation %q", v.RemoteCorrelationID)
			}
			got := s.heard[0]
			if got.method != "POST" || got.uri != "/srv/$batch?x=1" {
				t.Errorf("%s %s", got.method, got.uri)
			}
			if c.version == "v2" || c.contentType != "" {
				for _, want := range []string{
					"Content-Type: multipart/mixed; boundary=ferry_changeset\r\n\r\n--ferry_changeset\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: 1\r\n\r\n" +
						"POST Invoices HTTP/1.1\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: 38\r\n\r\n{\"Ref\":\"K\",\"supplier\":\"O'Neil & Co\"}\r\n",
					"\r\n\r\nPATCH Suppliers(1) HTTP/1.1\r\n", "\r\nIf-Match: *\r\n\r\n{\"name\"", "\r\n--ferry_changeset--\r\n\r\n--ferry_batch--\r\n",
				} {
					want = strings.Replace(want, "38", fmt.Sprint(len(`{"Ref":"K","supplier":"O'Neil & Co"}`)), 1)
					if !strings.Contains(got.body, want) {
						t.Errorf("the body lacks %q:\n%s", want, got.body)
					}
				}
				return
			}
			var sent struct {
				Requests []struct {
					ID, AtomicityGroup, Method, URL string
					Headers                         map[string]string
					Body                            map[string]any
				}
			}
			if err := json.Unmarshal([]byte(got.body), &sent); err != nil || len(sent.Requests) != 2 {
				t.Fatalf("%v: %s", err, got.body)
			}
			first, second := sent.Requests[0], sent.Requests[1]
			if first.AtomicityGroup == "" || first.AtomicityGroup != second.AtomicityGroup || first.Method != "POST" || first.Body["Ref"] != "K" ||
				second.ID != "2" || second.Method != "PATCH" || second.Headers["if-match"] != "*" || second.Headers["content-type"] != "application/json" {
				t.Errorf("%s", got.body)
			}
		})
	}
}

func TestODataBatchRefuses(t *testing.T) {
	for src, want := range map[string]string{
		`{}`:                                   "no array",
		`[]`:                                   "no array",
		`[1]`:                                  "request 1 of the batch: it is no object",
		`[{url: "A", body: {}}, {}]`:           "request 2 of the batch: url",
		`[{url: "http://elsewhere/A"}]`:        "relative",
		`[{url: "//elsewhere/A"}]`:             "relative",
		`[{url: "A B"}]`:                       "relative",
		`[{url: "A\r\nX: y"}]`:                 "relative",
		`[{url: "A", method: "GET"}]`:          "does not write",
		`[{url: "A", headers: {a: "b\nc"}}]`:   "cannot be sent",
		`[{url: "A", headers: {Cookie: "b"}}]`: "cannot be sent",
		`[{url: "A", id: "a b"}]`:              "id cannot",
		`[{url: "A"}]`:                         "its body is no object",
	} {
		s := &odataScript{answers: []odataSaid{{200, nil, ``}}}
		v := odataRoute(t, s, adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A(ID)", KeyField: "Ref", Batch: true, Map: src}).Deliver(t.Context(), odataCall("K"))
		if v.Kind != ferry.Rejected || v.Code != adapters.CodeMappingFailed || !strings.Contains(v.Text, want) || len(s.heard) > 0 {
			t.Errorf("%s: %+v", src, v)
		}
	}
}

func TestODataSettings(t *testing.T) {
	for name, c := range map[string]struct {
		dest  adapters.DestinationConfig
		route adapters.RouteConfig
		want  string
	}{
		"version":           {adapters.DestinationConfig{Version: "v3"}, adapters.RouteConfig{Entity: "A"}, "version: there is no"},
		"client":            {adapters.DestinationConfig{Client: "100"}, adapters.RouteConfig{Entity: "A"}, "dialect odata takes no client"},
		"SAP client":        {adapters.DestinationConfig{Dialect: "odata-sap", Client: "1"}, adapters.RouteConfig{Entity: "A"}, "client is \"1\""},
		"two SAP clients":   {adapters.DestinationConfig{Dialect: "odata-sap", Client: "100", URL: "/?sap-client=200"}, adapters.RouteConfig{Entity: "A"}, "client is 100, and url says sap-client=200"},
		"no entity":         {adapters.DestinationConfig{}, adapters.RouteConfig{}, "entity is missing"},
		"entity":            {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A?x=1"}, "names no entity set"},
		"entity up":         {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "../A"}, "names no entity set"},
		"key's type":        {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A(ID:uuid)"}, "there is no type"},
		"key's bracket":     {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A(ID"}, "without its )"},
		"reference":         {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A", KeyField: "Ref"}, "reference is missing"},
		"write":             {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A", Write: "replace"}, "write: there is no"},
		"update by nothing": {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A", Write: "update"}, "write: update"},
		"method":            {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A", Method: "PUT"}, "method goes with"},
		"MERGE in V4":       {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A", Write: "update", KeyField: "R", Method: "MERGE"}, "of OData V2"},
		"where of a key":    {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A", Write: "update", KeyField: "R", Lookup: &adapters.LookupConfig{Where: "x"}}, "lookup.where goes with"},
		"batch, no map":     {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A", Batch: true}, "batch needs a map"},
		"batch in JSON, V2": {adapters.DestinationConfig{Version: "V2"}, adapters.RouteConfig{Batch: true, Map: ".", ContentType: "application/json"}, "multipart/mixed"},
		"finish, no end":    {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A(ID)", KeyField: "R", Finish: "post"}, "finished is missing"},
		"finish, no key":    {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A", KeyField: "R", Finish: "post", Finished: ".x", Reference: ".x"}, "names of the entity's key"},
		"url":               {adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "A", URL: "/x"}, "takes no url"},
	} {
		_, err := tryODataRoute(t, &odataScript{answers: []odataSaid{{200, nil, ``}}}, c.dest, c.route)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}
