package erp

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/adapters/httpcall"
)

// TestODataErrors: every shape in which services of both versions word an error,
// in JSON and in XML, and what a person gets to see of it.
func TestODataErrors(t *testing.T) {
	const sapXML = `<?xml version="1.0" encoding="utf-8"?><error xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">
<code>/IWBEP/CM_TEA/004</code><message xml:lang="en">Team ID is not in the range &amp; so on.</message>
<innererror><transactionid>4FE1D144B9AD22F2E10000000A420C41</transactionid><errordetails>
<errordetail><code>/IWBEP/CM_TEA/002</code><message>It is not a valid ID.</message><propertyref>Team/Team_Identifier</propertyref><severity>error</severity></errordetail>
<errordetail><code>/IWBEP/CM_TEA/009</code><message>Read more.</message><propertyref/><severity>info</severity></errordetail>
<errordetail><code>/IWBEP/CX_TEA_BUSINESS</code><message>It is not a valid ID.</message><propertyref/><severity>error</severity></errordetail>
</errordetails></innererror></error>`
	for name, c := range map[string]struct {
		body string
		want httpcall.Problem
	}{
		"V4, several": {
			`{"error":{"message":"Multiple errors occurred, see details below.","code":"MULTIPLE_ERRORS","details":[
				{"code":"ASSERT_MANDATORY","message":"Provide the missing value.","target":"supplier"},{"code":"ASSERT_RANGE","message":"Enter a value.","target":"lines(ID=1)/amount"}]}}`,
			httpcall.Problem{Code: "MULTIPLE_ERRORS", Text: "Multiple errors occurred, see details below.", Fields: []ferry.FieldError{
				{Field: "supplier", Text: "Provide the missing value."}, {Field: "lines(ID=1)/amount", Text: "Enter a value."},
			}},
		},
		"V4, one with its target": {
			`{"error":{"message":"Provide the missing value.","code":"ASSERT_MANDATORY","target":"name"}}`,
			httpcall.Problem{Code: "ASSERT_MANDATORY", Text: "Provide the missing value.", Fields: []ferry.FieldError{{Field: "name", Text: "Provide the missing value."}}},
		},
		"V2 of CAP, which repeats itself": {
			`{"error":{"message":{"lang":"en","value":"UNIQUE constraint failed"},"code":"SQLITE_CONSTRAINT_UNIQUE","severity":"error","target":"/#TRANSIENT#","innererror":{"errordetails":[
				{"message":{"lang":"en","value":"UNIQUE constraint failed"},"code":"SQLITE_CONSTRAINT_UNIQUE","target":"/#TRANSIENT#"}]}}}`,
			httpcall.Problem{Code: "SQLITE_CONSTRAINT_UNIQUE", Text: "UNIQUE constraint failed"},
		},
		"V2 of SAP: a message without a field is told by its code": {
			`{"error":{"code":"M8/534","message":{"lang":"en","value":"Enter a tax code"},"innererror":{"application":{},"transactionid":"T1","errordetails":[
				{"code":"M8/534","message":"Enter a tax code","propertyref":"","severity":"error","target":""},
				{"code":"F5/806","message":"Enter a cost centre","propertyref":"","severity":"error","target":""},
				{"code":"KI/235","message":"Check the account","propertyref":"","severity":"warning","target":"/#TRANSIENT#/to_Item(1)/GLAccount"},
				{"code":"/IWBEP/CX_MGW_BUSI_EXCEPTION","message":"An exception was raised","propertyref":"","severity":"error"}]}}}`,
			httpcall.Problem{Code: "M8/534", Text: "Enter a tax code", Trace: "T1", Fields: []ferry.FieldError{
				{Field: "F5/806", Text: "Enter a cost centre"}, {Field: "to_Item(1)/GLAccount", Text: "Check the account"},
			}},
		},
		"a lock among several decides": {
			`{"error":{"code":"M8/534","message":{"value":"Enter a tax code"},"innererror":{"errordetails":[{"code":"MC/601","message":"Object is currently locked by user MILLER"}]}}}`,
			httpcall.Problem{Code: "MC/601", Text: "Object is currently locked by user MILLER", Fields: []ferry.FieldError{{Field: "MC/601", Text: "Object is currently locked by user MILLER"}}},
		},
		"XML, as where Accept got lost": {
			sapXML,
			httpcall.Problem{Code: "/IWBEP/CM_TEA/004", Text: "Team ID is not in the range & so on.", Trace: "4FE1D144B9AD22F2E10000000A420C41", Fields: []ferry.FieldError{
				{Field: "Team/Team_Identifier", Text: "It is not a valid ID."},
			}},
		},
		"plain text":         {`CSRF token validation failed`, httpcall.Problem{Text: "CSRF token validation failed", Quoted: true}},
		"a page of a proxy":  {`<html><title>Bad Gateway</title><body>nginx</body></html>`, httpcall.Problem{Text: "Bad Gateway nginx", Quoted: true}},
		"XML cut short":      {sapXML[:200], httpcall.Problem{Text: "/IWBEP/CM_TEA/004", Quoted: true}},
		"a credential in it": {`{"error":{"code":"1","message":"Bearer abcdefghijklmnopqrstuvwxyz is wrong"}}`, httpcall.Problem{Code: "1", Text: "Bearer *** is wrong"}},
	} {
		got := odataErrors(&httpcall.Answer{Status: 400, Header: http.Header{}, Body: []byte(c.body)})
		if name == "XML cut short" {
			if !strings.Contains(got.Text, c.want.Text) {
				t.Errorf("%s: %+v", name, got)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	// Ten thousand details do not fill the memory, or a verdict.
	many := `{"error":{"code":"X","message":"x","details":[` + strings.Repeat(`{"code":"a","message":"`+strings.Repeat("y", 50)+`","target":"f"},`, 10_000) + `{}]}}`
	if p := odataErrors(&httpcall.Answer{Status: 400, Header: http.Header{}, Body: []byte(many)}); len(p.Fields) > ferry.MaxAttemptFields {
		t.Errorf("%d fields", len(p.Fields))
	}
}

// TestPredicates: the key in the address that a document says it has, however it
// is written, and nothing but that.
func TestPredicates(t *testing.T) {
	for address, want := range map[string]string{
		"Invoices(018f6d6e-7b2a-7c3d-9e4f-001122334455)":              "(018f6d6e-7b2a-7c3d-9e4f-001122334455)",
		"http://localhost:4004/odata/v2/erp/Invoices(guid'018f6d6e')": "(guid'018f6d6e')",
		"https://s4:44300/x/A_Doc(No='1',Year='2026')?sap-client=100": "(No='1',Year='2026')",
		"https://s4/x/Company(1)/Docs('a(b)/c')":                      "('a(b)/c')",
		"https://s4/x/Docs(%27O%27%27Neil%27)":                        "(%27O%27%27Neil%27)",
		"https://s4/x/Docs":                                           "",
		"https://s4/x/Docs(1)/to_Lines":                               "",
		"https://s4/x/Docs('1) HTTP/1.1\r\nX: y')":                    "",
		"https://s4/x/Docs('%zz')":                                    "",
		"(1)":                                                         "",
		"https://s4/x/Docs(" + strings.Repeat("1", 5000) + ")":        "",
	} {
		if got := predicateIn(address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	for key, want := range map[string][][2]string{
		"(No='1',Year='2026')":       {{"No", "'1'"}, {"Year", "'2026'"}},
		"('a,b=c')":                  {{"", "'a,b=c'"}},
		"(A='x, y''z',B=2)":          {{"A", "'x, y''z'"}, {"B", "2"}},
		"(%27O%27%27Neil%27)":        {{"", "'O''Neil'"}},
		"(ID=guid'1',D=datetime'2')": {{"ID", "guid'1'"}, {"D", "datetime'2'"}},
		"":                           nil,
	} {
		if diff := cmp.Diff(want, splitPredicate(key)); diff != "" {
			t.Errorf("%s:\n%s", key, diff)
		}
	}
	set, err := parseSet("Docs(No,Year:number)")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		document map[string]any
		key      string
	}{
		"its own address first": {map[string]any{"@odata.id": "https://x/Docs('7')", "No": "8", "Year": "2026"}, "('7')"},
		"else its fields":       {map[string]any{"No": "O'N", "Year": "2026"}, "(No=%27O%27%27N%27,Year=2026)"},
		"neither":               {map[string]any{"No": "8"}, ""},
	} {
		got, err := set.keyOf(c.document, false)
		if got != c.key || (err == nil) != (c.key != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
