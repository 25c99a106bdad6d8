package connector

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"flag"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

var update = flag.Bool("update", false, "write what is made into testdata/golden")

// twelve are the routes of testdata/routes, and one without a schema.
func twelve(t *testing.T) []ferry.Route {
	t.Helper()
	files, err := filepath.Glob("testdata/routes/*.json")
	if err != nil || len(files) != 11 {
		t.Fatal(files, err)
	}
	routes := []ferry.Route{{Name: "orders-2", Title: "Anything", Description: "What has no schema"}}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, ferry.Route{Name: strings.TrimSuffix(filepath.Base(file), ".json"), Schema: text})
	}
	return routes
}

func routeOf(t *testing.T, name string) ferry.Route {
	t.Helper()
	for _, r := range twelve(t) {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no route %s", name)
	return ferry.Route{}
}

// hostile are routes whose texts and fields are as bad as they can be.
func hostile() []ferry.Route {
	long := strings.Repeat("Very long ", 50)
	schema := obj("type", "object", "title", `<script>alert("x")</script>`, "description", "a \"quoted\" | `text`\n\twith\u0000 \u202e everything 🚢",
		"required", texts("a.b", "with space", "ghost", "constructor"),
		"properties", object{
			{"a.b", obj("type", "string", "title", long, "description", long+long)},
			{"with space", obj("type", "string", "title", "🚢🚢")},
			{"dash-ed_name", obj("type", "string", "title", "<b>bold</b>?")},
			{"$", obj("type", "string")},
			{"$ref", obj("type", "string")},
			{"$defs", obj("type", "string")},
			{"🚢", obj("type", "string", "description", "Ship")},
			{"\u0000\n", obj("type", "string")},
			{`quo"te`, obj("type", "string", "title", `say "hi"`)},
			{"<img src=x>", obj("type", "string")},
			{"a/b~c", obj("type", "string")},
			{"connectionId", obj("type", "string")},
			{"type", obj("type", "string")},
			{"properties", obj("type", "object", "properties", obj("type", obj("type", "string")))},
			{"required", obj("type", "array")},
			{"enum", obj("type", "array", "items", obj("type", "string"))},
			{"items", obj("type", "string")},
			{"oneOf", obj("type", "string")},
			{"not", obj("type", "string")},
			{"x-ms-visibility", obj("type", "string")},
			{"default", obj("type", "string")},
			{"example", obj("type", "string")},
			{"allOf", obj("type", "string")},
			{"__proto__", obj("type", "string")},
			{"hasOwnProperty", obj("type", "string")},
			{"toString", obj("type", "boolean")},
			{strings.Repeat("n", 500), obj("type", "string")},
			{"Same Name", obj("type", "string")},
			{"sameName", obj("type", "string")},
			{"same-name", obj("type", "string", "title", "Same name")},
			{"enumeration", obj("enum", []any{json.Number("1"), json.Number("1.0"), "one", nil, true}, "type", texts("integer", "null"))},
			{"noValues", obj("type", "string", "enum", []any{json.Number("1")})},
			{"huge", obj("type", "number", "minimum", json.Number("1e999"), "maximum", json.Number("5"), "default", json.Number("-1e999"))},
			{"negative", object{{"type", "string"}, {"minLength", json.Number("-1")}, {"maxLength", json.Number("2.5")}, {"format", "iban"}, {"pattern", "("}}},
			{"wrongDefault", obj("type", "integer", "default", "seven")},
			{"nowhere", obj("$ref", "#/$defs/absent")},
			{"outside", obj("$ref", "https://example.com/schema.json")},
			{"self", obj("$ref", "#")},
			{"loop", obj("$ref", "#/$defs/loop")},
			{"tuple", obj("type", "array", "items", []any{obj("type", "string"), obj("type", "number")})},
			{"dynamic", obj("$dynamicRef", "#meta")},
		},
		"$defs", object{{"loop", obj("allOf", []any{obj("$ref", "#/$defs/loop"), obj("type", "object")})}})
	return []ferry.Route{
		{Name: "hostile", Title: `<b>"Rechnungen" | 🚢 /. </b>`, Description: "<script>alert(1)</script>\n# Heading | `code`\x00", Schema: compact(schema)},
		{Name: "a1", Title: strings.Repeat("x ", 25)},
		{Name: "a-1", Schema: json.RawMessage(`true`)},
		{Name: "a--1", Schema: json.RawMessage(`{"type": ["object", "array"]}`)},
		{Name: "broken", Schema: json.RawMessage(`{"type":`)},
		{Name: "bomb", Schema: bomb()},
		{Name: "message", Schema: json.RawMessage(`false`)},
		{Name: "message-and-wait", Title: "🚢"},
	}
}

// versioned are routes with versions.
func versioned(t *testing.T) []ferry.Route {
	t.Helper()
	ended := time.Date(2027, 1, 31, 23, 0, 0, 0, time.UTC)
	return []ferry.Route{
		{Name: "orders", Schema: routeOf(t, "sales-orders").Schema, Versions: []ferry.RouteVersion{
			{Name: "1", Default: true, Deprecated: ended.AddDate(-1, 0, 0), Sunset: ended},
			{Name: "2.1", Form: ferry.Form{Schema: routeOf(t, "items").Schema}},
		}},
		{Name: "payments", Versions: []ferry.RouteVersion{{Name: "2026-11-26"}, {Name: "xml", Form: ferry.Form{Accept: []string{ferry.AcceptXML}}}}},
		{Name: "readings", Accept: []string{ferry.AcceptForm, ferry.AcceptJSON}},
	}
}

// TestVersionsHaveActionsOfTheirOwn: so that a new version changes nothing for flows
// that use another.
func TestVersionsHaveActionsOfTheirOwn(t *testing.T) {
	routes := versioned(t)
	c, err := Make(routes, Options{})
	if err != nil {
		t.Fatal(err)
	}
	doc := string(fileNamed(t, c, DefinitionFile))
	for want, there := range map[string]bool{
		`"SendToOrders"`: true, `"SendV1ToOrders"`: true, `"SendV21x`: true, `"summary": "Send to orders (version 2-1) and wait"`: true,
		`"/v1/routes/orders/versions/2.1/messages/wait"`: true, `This version ends on 2027-01-31. Hands over`: true, `"deprecated": true`: true,
		`"SendToPayments"`: false, `ToPayments"`: true, `/versions/xml/`: false, `"SendToReadings"`: true,
	} {
		if strings.Contains(doc, want) != there {
			t.Errorf("%s is there: %v", want, !there)
		}
	}
	if notes := strings.Join(c.Notes, "\n"); !strings.Contains(notes, "route payments (version xml): it takes no JSON") {
		t.Errorf("notes: %s", notes)
	}
	before := parts(t, routes)
	routes[0].Versions = append(routes[0].Versions, ferry.RouteVersion{Name: "3", Form: ferry.Form{Schema: routeOf(t, "vendors").Schema}})
	after := parts(t, routes)
	if len(after) != len(before)+3 {
		t.Errorf("a version adds %d parts", len(after)-len(before))
	}
	for part, text := range before {
		if after[part] != text {
			t.Errorf("another version changes %s", part)
		}
	}
}

// bomb is a small schema of very many fields.
func bomb() json.RawMessage {
	defs := object{{"d0", obj("type", "object", "properties", object{{"a", obj("type", "string")}, {"b", obj("type", "string")}})}}
	for i := 1; i < 30; i++ {
		below := obj("$ref", "#/$defs/"+defs[i-1].name)
		defs = append(defs, member{"d" + string(rune('0'+i/10)) + string(rune('0'+i%10)), obj("type", "object", "properties", object{{"a", below}, {"b", below}})})
	}
	return compact(obj("$ref", "#/$defs/"+defs[29].name, "$defs", defs))
}

// fixtures are the connectors that tests look at.
func fixtures(t *testing.T) map[string]Connector {
	t.Helper()
	entra := Options{PublicURL: "https://broker.contoso.com", ClientID: "11111111-2222-3333-4444-555555555555", Tenant: "contoso.onmicrosoft.com", Email: "erp@contoso.com", Publisher: "Contoso"}
	oauth, local := entra, Options{PublicURL: "http://127.0.0.1:8080"}
	oauth.Auth, oauth.PublicURL = AuthOAuth, "https://gateway.contoso.com:8443/ferry/"
	made := map[string]Connector{}
	add := func(name string, routes []ferry.Route, o Options) {
		c, err := Make(routes, o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		made[name] = c
	}
	add("none", nil, local)
	add("one", []ferry.Route{routeOf(t, "supplier-invoices")}, Options{PublicURL: "https://broker.contoso.com"})
	add("twelve", twelve(t), entra)
	add("behind-a-gateway", []ferry.Route{routeOf(t, "items")}, oauth)
	add("versions", versioned(t), Options{PublicURL: "https://broker.contoso.com"})
	add("hostile", hostile(), Options{Title: "Ferry (test)"})
	return made
}

func TestGolden(t *testing.T) {
	for name, c := range fixtures(t) {
		for _, f := range c.Files {
			if f.Name == IconFile && name != "none" {
				continue // the same for all
			}
			path := filepath.Join("testdata", "golden", name, f.Name)
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if f.Name != IconFile {
				want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n")) // of a checkout on Windows
			}
			if !bytes.Equal(want, f.Data) {
				t.Errorf("%s/%s is another than before (-update writes it; is it a change that breaks flows?)\n%s", name, f.Name, cmp.Diff(string(want), string(f.Data)))
			}
		}
	}
}

// TestFilesAreWhatToolsRead: in ASCII, since a tool may read them in the code page of
// its machine; an icon of the size that is wanted; a zip that holds all of them.
func TestFilesAreWhatToolsRead(t *testing.T) {
	for name, c := range fixtures(t) {
		var names []string
		for _, f := range c.Files {
			names = append(names, f.Name)
			if strings.HasSuffix(f.Name, ".json") {
				if i := bytes.IndexFunc(f.Data, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' }); i >= 0 {
					t.Errorf("%s/%s has a character beyond ASCII at %d", name, f.Name, i)
				}
				if !json.Valid(f.Data) {
					t.Errorf("%s/%s is no JSON", name, f.Name)
				}
			}
			if f.Name == IconFile {
				m, err := png.Decode(bytes.NewReader(f.Data))
				if err != nil || m.Bounds().Dx() != m.Bounds().Dy() || m.Bounds().Dx() < 100 || m.Bounds().Dx() > 230 || len(f.Data) > 1<<20 {
					t.Errorf("the icon: %v, %v", m.Bounds(), err)
				}
			}
		}
		if !slices.Equal(names, FileNames()) {
			t.Errorf("%s has the files %q", name, names)
		}
		packed, err := Zip(c.Files)
		if err != nil {
			t.Fatal(err)
		}
		z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			if data, err := io.ReadAll(r); err != nil || !bytes.Equal(data, c.Files[i].Data) {
				t.Errorf("%s in the zip is another: %v", f.Name, err)
			}
		}
	}
}

func TestNotesSayWhatIsLeftOut(t *testing.T) {
	notes := strings.Join(fixtures(t)["hostile"].Notes, "\n")
	for _, want := range []string{
		"route bomb: the schema has more than 4000 fields", "route broken: the schema cannot be read",
		"route hostile: what contains itself is free", "route hostile: a reference that leads nowhere is free",
		"route hostile: optional fields whose names are words of schemas are left out", "route a-1: the schema tells no kind of value",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("no note says %q in\n%s", want, notes)
		}
	}
	readme := string(fileNamed(t, fixtures(t)["hostile"], ReadmeFile))
	if !strings.Contains(readme, "route bomb: the schema has more than 4000 fields") {
		t.Error("the README does not say what is left out")
	}
	if strings.Contains(readme, "<") {
		t.Error("the README has HTML in it")
	}
}

func fileNamed(t *testing.T, c Connector, name string) []byte {
	t.Helper()
	for _, f := range c.Files {
		if f.Name == name {
			return f.Data
		}
	}
	t.Fatalf("no file %s", name)
	return nil
}

// TestTooLarge: nothing is left out silently to fit, since a flow may use it.
func TestTooLarge(t *testing.T) {
	fields := object{}
	for i := range 600 {
		fields = append(fields, member{"field" + string(rune('a'+i%26)) + strings.Repeat("x", i/26), obj("type", "string", "description", strings.Repeat("long text ", 20))})
	}
	schema := compact(obj("type", "object", "properties", fields))
	var routes []ferry.Route
	for _, name := range []string{"aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh"} {
		routes = append(routes, ferry.Route{Name: name, Schema: schema})
	}
	if _, err := Make(routes, Options{}); ferry.CodeOf(err) != ferry.CodeConnectorTooLarge || !strings.Contains(err.Error(), "8 routes would take") {
		t.Fatalf("%v", err)
	}
	c, err := Make(routes[:5], Options{}) // fits in one line only
	if err != nil {
		t.Fatal(err)
	}
	if doc := fileNamed(t, c, DefinitionFile); len(doc) > MaxDefinition || bytes.Count(doc, []byte("\n")) > 1 {
		t.Errorf("%d bytes", len(doc))
	}
	if _, err := Make(routes[:1], Options{}); err != nil {
		t.Error(err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]Options{
		"auth":          {Auth: "kerberos"},
		"host path":     {PublicURL: "https://broker.contoso.com/{x}"},
		"host user":     {PublicURL: "https://user:secret@broker.contoso.com"},
		"host scheme":   {PublicURL: "ftp://broker.contoso.com"},
		"host quote":    {PublicURL: "https://broker'.contoso.com"},
		"host v6":       {PublicURL: "https://[2001:db8::1]"},
		"host query":    {PublicURL: "https://broker.contoso.com?x"},
		"title long":    {Title: "Ferry of the accounts payable department"},
		"title word":    {Title: "Contoso Power Automate"},
		"title end":     {Title: "Ferry!"},
		"tenant":        {Tenant: "x/../y"},
		"client":        {ClientID: "a b"},
		"website":       {Website: "javascript:alert(1)"},
		"privacy":       {Privacy: "http://contoso.com"},
		"email":         {Email: "erp at contoso"},
		"publisher":     {Publisher: "a\nb"},
		"resource long": {Resource: strings.Repeat("x", 201)},
	} {
		if _, err := Make(nil, o); ferry.CodeOf(err) != ferry.CodeBadRequest {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error repeats a password", name)
		}
	}
	for given, want := range map[string]string{
		"": NoHost, "http://localhost:8080": NoHost, "http://0.0.0.0:80": NoHost, "https://[::1]:1": NoHost, "Broker.Contoso.com": "broker.contoso.com",
		"https://broker.contoso.com:443/": "broker.contoso.com", "broker.contoso.com:8443": "broker.contoso.com:8443", "http://10.0.0.5": "10.0.0.5",
	} {
		c, err := Make(nil, Options{PublicURL: given})
		if err != nil {
			t.Errorf("%s: %v", given, err)
			continue
		}
		var doc struct{ Host, BasePath string }
		if err := json.Unmarshal(fileNamed(t, c, DefinitionFile), &doc); err != nil || doc.Host != want || doc.BasePath != "/" {
			t.Errorf("%s: host %q, base path %q, %v", given, doc.Host, doc.BasePath, err)
		}
	}
}
