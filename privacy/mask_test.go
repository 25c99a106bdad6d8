package privacy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/privacy"
)

func mask(t testing.TB, names ...string) *privacy.FieldMask {
	t.Helper()
	m, err := privacy.NewFieldMask(names)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestJSON(t *testing.T) {
	m := mask(t, "iban", "bankAccount", "/invoice/supplier/taxId", "/lines/*/price", "/a~1b/0")
	for name, c := range map[string]struct{ in, want string }{
		"anywhere":            {`{"x":{"iban":"DE1"},"l":[{"IBAN":"DE2"},{"Iban": 3}]}`, `{"x":{"iban":"***"},"l":[{"IBAN":"***"},{"Iban": "***"}]}`},
		"the rest untouched":  {"{ \"z\" : 1.50 ,\n \"iban\":\t\"x\\\"y\" , \"a\":[ 1e3 , null ] }\n", "{ \"z\" : 1.50 ,\n \"iban\":\t\"***\" , \"a\":[ 1e3 , null ] }\n"},
		"pointer":             {`{"invoice":{"supplier":{"taxId":"DE123","name":"A"}},"taxId":"stays"}`, `{"invoice":{"supplier":{"taxId":"***","name":"A"}},"taxId":"stays"}`},
		"pointer with a star": {`{"lines":[{"price":1},{"price":{"x":2}}],"price":3}`, `{"lines":[{"price":"***"},{"price":"***"}],"price":3}`},
		"escaped pointer":     {`{"a/b":["x1","y1"]}`, `{"a/b":["***","y1"]}`},
		"whole branches":      {`{"bankAccount":{"no":1,"bank":[1,2]},"b":2}`, `{"bankAccount":"***","b":2}`},
		"null is no secret":   {`{"iban":null}`, `{"iban":null}`},
		"no object":           {`"iban"`, `"iban"`},
		"JSON in JSON":        {`{"log":"{\"iban\":\"DE99\"}","n":1}`, `{"log":"{\"iban\":\"***\"}","n":1}`},
		"escaped name":        {`{"ib\u0061n":"DE1"}`, `{"ib\u0061n":"***"}`},
		"twice the same":      {`{"iban":1,"iban":2}`, `{"iban":"***","iban":"***"}`},
		"cut off":             {`{"a":1,"iban":"DE8937`, `{"a":1,"iban":"***"`},
		"several values":      {`{"iban":"DE1"} {"iban":"DE2"}`, `{"iban":"***"} {"iban":"***"}`},
		"XML":                 {`<a><iban kind="x">DE1</iban><ns:BankAccount>7</ns:BankAccount></a>`, `<a><iban kind="x">***</iban><ns:BankAccount>***</ns:BankAccount></a>`},
		"XML, CDATA":          {`<iban><![CDATA[DE1 </iban> DE2]]></iban><a>1</a>`, `<iban>***</iban><a>1</a>`},
		"XML, CDATA cut off":  {`<a>1</a><iban><![CDATA[DE1 </iban>`, `<a>1</a><iban>***`},
		"XML, in CDATA":       {`<a><![CDATA[<iban>DE1</iban><b>2</b>]]></a>`, `<a><![CDATA[<iban>***</iban><b>2</b>]]></a>`},
		"XML, children":       {`<bankAccount><no>1</no><bank>2</bank></bankAccount><a>3</a>`, `<bankAccount>***</bankAccount><a>3</a>`},
		"XML, comment":        {`<iban><!-- </iban> -->DE1<?x </iban>?>DE2</iban ><a>1</a>`, `<iban>***</iban ><a>1</a>`},
		"XML, closed itself":  {`<iban/>1<iban kind="x>" />2<iban a='/'>DE1</iban>`, `<iban/>1<iban kind="x>" />2<iban a='/'>***</iban>`},
		"XML, nested":         {`<IBAN><iban>DE1</iban><iban/>DE2<ibans>3</ibans></IBAN><a>4</a>`, `<IBAN>***</IBAN><a>4</a>`},
		"XML, > in quotes":    {`<iban a="/>" b="1">DE1<x/></iban>`, `<iban a="/>***</iban>`},
		"XML, another prefix": {`<p:iban>DE1<iban>DE2</iban>DE3</p:iban>4`, `<p:iban>***</p:iban>4`},
		"XML, cut off":        {`<iban><part>DE1</part><par`, `<iban>***`},
		"XML, tag broken off": {`<iban a="<">DE1</iban><a>1</a>`, `<iban a="***</iban><a>1</a>`},
		"XML, empty":          {`<iban></iban><a>1</a><iban>`, `<iban></iban><a>1</a><iban>`},
		"XML, other names":    {`<ibans>1</ibans><a:b>2 < 3</a:b></iban>`, `<ibans>1</ibans><a:b>2 < 3</a:b></iban>`},
		"XML in JSON":         {`{"x":"<iban a=\"1\"><![CDATA[DE1]]></iban>"}`, `{"x":"\u003ciban a=\"1\"\u003e***\u003c/iban\u003e"}`},
		"nothing":             {``, ``},
	} {
		if got := string(m.JSON([]byte(c.in))); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
	deep := strings.Repeat("[", 1<<20) + `{"iban":"DE1"}` + strings.Repeat("]", 1<<20)
	if got := string(m.JSON([]byte(deep))); strings.Contains(got, "DE1") || !strings.Contains(got, "***") {
		t.Error("what is nested deep is shown")
	}
	for _, part := range []string{"<iban ", "<iban>", "</iban>", "<!--", "<iban><![CDATA[", `<iban "`, `<iban '>`, "<x>"} {
		began := time.Now()
		_ = m.Text(strings.Repeat(part, 1<<20/len(part)))
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("1 MiB of %s took %s", part, took)
		}
	}
	var none *privacy.FieldMask
	if got := string(none.JSON([]byte(`{"iban":1}`))); got != `{"iban":1}` {
		t.Error(got)
	}
}

func TestNamesThatAreRefused(t *testing.T) {
	for name, names := range map[string][]string{
		"empty":       {""},
		"long":        {strings.Repeat("x", 257)},
		"jq":          {".invoice.iban"},
		"bad pointer": {"/a~2"},
		"empty part":  {"/a//b"},
		"root":        {"/"},
		"too many":    make([]string, 101),
	} {
		if _, err := privacy.NewFieldMask(names); ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m, err := privacy.NewFieldMask(nil); m != nil || err != nil {
		t.Errorf("%v, %v", m, err)
	}
}

// An error text that quotes a hidden value of the message must not show it.
func TestText(t *testing.T) {
	payload := `{"supplier":{"iban":"DE89 3704 0044 0532 0130 00","no":"4711"},"taxId":12345678,"pin":"123",
		"owner":{"name":"O'Brien & Søn","vip":true},"amount":100.00}`
	values := mask(t, "iban", "taxId", "pin", "owner").Values([]byte(payload))
	for in, want := range map[string]string{
		"IBAN DE89 3704 0044 0532 0130 00 is not valid":          "IBAN *** is not valid",
		"iban DE89370400440532013000 of 4711":                    "iban *** of 4711",
		"de89370400440532013000":                                 "***",
		"filter=iban eq 'DE89%203704%200044%200532%200130%2000'": "filter=iban eq '***'",
		"tax 12345678, twice 12345678":                           "tax ***, twice ***",
		"tax 1234567 is another":                                 "tax 1234567 is another",
		"name 'O''Brien & Søn'":                                  "name '***'",
		`quoted "O'Brien \u0026 Søn"`:                            `quoted "***"`,
		"PIN 123 is short, and stays":                            "PIN 123 is short, and stays",
		"it is true that 4711 costs 100.00":                      "it is true that 4711 costs 100.00",
		`{"Iban":"XX99","pin":"9","x":1}`:                        `{"Iban":"***","pin":"***","x":1}`,
		`[{\"iban\": \"XX99\"}]`:                                 `[{\"iban\": "***"}]`,
		`{'iban': 'XX99', 'x': 1}`:                               `{'iban': "***", 'x': 1}`,
		`{"owner":{"a":"b"},"iban":["X1","X2"],"x":1}`:           `{"owner":"***","iban":"***","x":1}`,
		"iban: is required":                                      "iban: is required",
		"cut off behind DE89 3704 00…":                           "cut off behind ***…",
		`got: string ("DE89 3704 0044 ...")`:                     `got: string ("*** ...")`,
		"":                                                       "",
	} {
		if got := values.Text(in); got != want {
			t.Errorf("%q\n got %q\nwant %q", in, got, want)
		}
	}
	var none *privacy.ValueMask
	if none.Text("x") != "x" || (*privacy.FieldMask)(nil).Values(payload) != nil || (*privacy.FieldMask)(nil).Text("x") != "x" {
		t.Error("nil hides something")
	}
}

func TestValuesOfMappedBodies(t *testing.T) {
	m := mask(t, "/BankDetails", "iban")
	values := m.Values(map[string]any{"iban": "DE8937040044"}, json.RawMessage(`{"BankDetails":[{"No":"ACC-778899"}]}`), nil, []byte("no JSON"))
	if got := values.Text("ACC-778899 and DE8937040044"); got != "*** and ***" {
		t.Error(got)
	}
}

func TestVerdict(t *testing.T) {
	v := ferry.Verdict{
		Reference: "DE8937040044", StatusURL: "https://erp.example/jobs/DE8937040044", Code: "BAD_DE8937040044",
		Text: "no such account: DE8937040044", Request: "POST https://erp.example/accounts/DE8937040044",
		RemoteCorrelationID: "c-DE8937040044", Fields: []ferry.FieldError{{Field: "accounts(DE8937040044)", Text: "DE8937040044 is blocked"}},
		Result: json.RawMessage(`{"iban":"DE8937040044","said":"made DE8937040044","id":8937040044}`),
	}
	mask(t, "iban").Values([]byte(`{"iban":"DE8937040044","x":{"iban":8937040044}}`)).Verdict(&v)
	want := ferry.Verdict{
		Reference: "DE8937040044", StatusURL: "https://erp.example/jobs/DE8937040044", Code: "BAD_***",
		Text: "no such account: ***", Request: "POST https://erp.example/accounts/***",
		RemoteCorrelationID: "c-***", Fields: []ferry.FieldError{{Field: "accounts(***)", Text: "*** is blocked"}},
		Result: json.RawMessage(`{"iban":"***","said":"made ***","id":"***"}`),
	}
	if d := cmp.Diff(want, v); d != "" {
		t.Error(d)
	}
}

func FuzzMask(f *testing.F) {
	for _, s := range []string{`{"iban":"DE1","a":[1,{"iban":2}]}`, `"a\\\"b"`, `{"iban":`, `[{"x":"\u00e4 secret-value"}]`, `-1.5e3`, "\xff", `<iban a="/>"><![CDATA[1]]><iban/></iban>`} {
		f.Add(s)
	}
	m := mask(f, "iban", "/a/*/b")
	values := m.Values([]byte(`{"iban":["secret-value", 1500, "\"quoted\""]}`))
	f.Fuzz(func(t *testing.T, s string) {
		for _, out := range [][]byte{m.JSON([]byte(s)), values.JSON([]byte(s))} {
			// What was JSON stays JSON.
			if json.Valid([]byte(s)) && !json.Valid(out) {
				t.Errorf("%q became %q", s, out)
			}
		}
		if json.Valid([]byte(s)) && strings.Contains(string(values.JSON([]byte(s))), "secret-value") {
			t.Errorf("%q shows the value", s)
		}
		_ = values.Text(s)
	})
}
