package shape

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

func lists(t *testing.T, pointers ...string) []place {
	t.Helper()
	list, err := places(pointers)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestXML(t *testing.T) {
	utf16le := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(`<a>ß😀</a>`)) {
		utf16le = binary.LittleEndian.AppendUint16(utf16le, u)
	}
	for name, test := range map[string]struct {
		xml, charset string
		keep         bool
		lists        []string
		want         string
	}{
		"an invoice": {
			xml: "\ufeff<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- from the till -->\n" + `<inv:Invoice xmlns:inv="urn:i" number="INV-1"><inv:Total currency="EUR">1190.00</inv:Total><Line>a</Line><Note/>
				<Line>b &amp; c</Line></inv:Invoice>`,
			want: `{"Invoice":{"@number":"INV-1","Total":{"@currency":"EUR","#text":"1190.00"},"Line":["a","b & c"],"Note":""}}`,
		},
		"prefixes kept": {
			xml: `<i:a xmlns:i="urn:i" xmlns="urn:d" xml:lang="de"><b i:c="1">x</b></i:a>`, keep: true,
			want: `{"i:a":{"@xmlns:i":"urn:i","@xmlns":"urn:d","@xml:lang":"de","b":{"@i:c":"1","#text":"x"}}}`,
		},
		"one line is an array too": {
			xml: `<o><lines><line><n>1</n></line></lines><tag>x</tag></o>`, lists: []string{"/o/lines/line", "/o/*"},
			want: `{"o":{"lines":[{"line":[{"n":"1"}]}],"tag":["x"]}}`,
		},
		"nil": {xml: `<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><b xsi:nil="true"/><c xsi:nil="false"/></a>`, want: `{"a":{"b":null,"c":""}}`},
		"text to the character": {
			xml: "<a>  1.10 <![CDATA[<&>]]>&#x20AC;\n</a>", want: `{"a":"  1.10 <&>€\n"}`,
		},
		"mixed":          {xml: `<p>Dear <b>Ann</b>, pay</p>`, want: `{"p":{"b":"Ann","#text":"Dear , pay"}}`},
		"UTF-16":         {xml: string(utf16le), want: `{"a":"ß😀"}`},
		"declared":       {xml: "<?xml version='1.0' encoding='ISO-8859-1'?><a>M\xfcller</a>", want: `{"a":"Müller"}`},
		"windows-1252":   {xml: "<?xml version=\"1.0\" encoding=\"windows-1252\"?><a>\x80 5</a>", want: `{"a":"€ 5"}`},
		"latin 9":        {xml: "<a>\xa4</a>", charset: "ISO-8859-15", want: `{"a":"€"}`},
		"header wins":    {xml: "<?xml version=\"1.0\" encoding=\"utf-8\"?><a>\xfc</a>", charset: "iso-8859-1", want: `{"a":"ü"}`},
		"arrays by name": {xml: `<r><a/><b/><a><a>1</a><a>2</a></a></r>`, want: `{"r":{"a":["",{"a":["1","2"]}],"b":""}}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, fault := fromXML([]byte(test.xml), test.charset, test.keep, lists(t, test.lists...))
			if fault != nil {
				t.Fatal(fault)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestXMLRefuses(t *testing.T) {
	deepXML := strings.Repeat("<a>", 300) + strings.Repeat("</a>", 300)
	for name, test := range map[string]struct {
		xml, says string
		code      ferry.Code
	}{
		"a document type":    {`<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>`, "document type", ferry.CodeBadRequest},
		"an entity":          {`<a>&x;</a>`, "invalid character entity", ferry.CodeBadRequest},
		"laughs":             {`<!DOCTYPE l [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><l>&b;</l>`, "document type", ferry.CodeBadRequest},
		"two roots":          {`<a/><b/>`, "follows its root", ferry.CodeBadRequest},
		"text outside":       {`<a/>x`, "text outside", ferry.CodeBadRequest},
		"nothing":            {`<!-- -->`, "no element", ferry.CodeBadRequest},
		"ends within":        {`<a><b>`, "ends within the element b", ferry.CodeBadRequest},
		"crossed":            {`<a><b></a></b>`, "the element b ends as a", ferry.CodeBadRequest},
		"ends too often":     {`</a>`, "ends that did not begin", ferry.CodeBadRequest},
		"an attribute twice": {`<a x="1" x="2"/>`, "stands there twice", ferry.CodeBadRequest},
		"deep":               {deepXML, "more than 200 deep", ferry.CodeBadRequest},
		"no UTF-8":           {"<a>\xfc</a>", "not UTF-8", ferry.CodeBadRequest},
		"EBCDIC":             {`<?xml version="1.0" encoding="IBM037"?><a/>`, `"IBM037" is not taken`, ferry.CodeUnsupportedMedia},
		"half a pair":        {"\xff\xfe<\x00a\x00>\x00\x00\xd8<\x00/\x00a\x00>\x00", "half of a pair", ferry.CodeBadRequest},
		"no character":       {"<?xml version=\"1.0\" encoding=\"windows-1252\"?><a>\x81</a>", "no character of its encoding", ferry.CodeBadRequest},
		"JSON":               {`{"a":1}`, "text outside", ferry.CodeBadRequest},
		"a late declaration": {`<a/><?xml version="1.0"?>`, "in its middle", ferry.CodeBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			_, fault := fromXML([]byte(test.xml), "", false, nil)
			if fault == nil || fault.Code != test.code || !strings.Contains(fault.Message, test.says) {
				t.Fatalf("%v, want %s: %s", fault, test.code, test.says)
			}
		})
	}
}

func FuzzXML(f *testing.F) {
	for _, s := range []string{`<a b="c">d<e/>f</a>`, `<a xmlns:x="u"><x:b/></a>`, "\xff\xfe<\x00a\x00/\x00>\x00", `<?xml version="1.0" encoding="latin1"?><a/>`, `<a><![CDATA[]]]]><![CDATA[>]]></a>`, `<!DOCTYPE a><a/>`, `<a:b:c/>`} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, keep bool) {
		out, fault := fromXML(data, "", keep, []place{{"a", "*"}})
		if fault != nil {
			if fault.Code == ferry.CodeInternal || fault.Code == "" {
				t.Fatalf("%v", fault)
			}
			return
		}
		// It is strict JSON, an object of one member.
		v, bad := decode(out)
		if object, ok := v.(map[string]any); bad != nil || !ok || len(object) != 1 {
			t.Fatalf("%q gives %s: %v", data, out, bad)
		}
		if len(out) > 20*len(data)+100 {
			t.Fatalf("%d bytes became %d", len(data), len(out))
		}
	})
}

func TestForm(t *testing.T) {
	got, fault := fromForm([]byte("number=INV-1&note=a+b%26c&tag=x&tag=y&&one=1&empty=&flag&%C3%A4=%E2%82%AC"), lists(t, "/one"))
	want := `{"number":"INV-1","note":"a b&c","tag":["x","y"],"one":["1"],"empty":"","flag":"","ä":"€"}`
	if fault != nil || string(got) != want {
		t.Errorf("%s, %v\nwant %s", got, fault, want)
	}
	for text, says := range map[string]string{
		"a=%zz":                             "escape of its field 1",
		"a=1&=2":                            "field 2 has no name",
		"a=%ff":                             "not UTF-8",
		"a=\xff":                            "not UTF-8",
		"b=1&a=%":                           "escape of its field 2",
		strings.Repeat("a=1&", maxFields+1): "more than 20000 fields",
	} {
		if _, fault := fromForm([]byte(text), nil); fault == nil || fault.Code != ferry.CodeBadRequest || !strings.Contains(fault.Message, says) {
			t.Errorf("%.20q: %v, want %s", text, fault, says)
		}
	}
}

func FuzzForm(f *testing.F) {
	f.Add([]byte("a=1&b=2&a=3"))
	f.Add([]byte("%41=%C3%A4&&=;x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, fault := fromForm(data, []place{{"a"}})
		if fault != nil {
			return
		}
		v, bad := decode(out)
		if _, ok := v.(map[string]any); bad != nil || !ok || !json.Valid(out) {
			t.Fatalf("%q gives %s: %v", data, out, bad)
		}
	})
}
