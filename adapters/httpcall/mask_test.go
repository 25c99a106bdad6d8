package httpcall_test

import (
	"net/url"
	"strings"
	"testing"

	"ferry/adapters/httpcall"
)

func TestMaskURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://erp.example/api/invoices?externalKey=A-1":                                                           "https://erp.example/api/invoices?externalKey=A-1",
		"https://me:pw@erp.example:8443/a%2Fb?x=1":                                                                   "https://***@erp.example:8443/a%2Fb?x=1",
		"https://f.example/api/f?code=abc%3D%3D&x=1":                                                                 "https://f.example/api/f?code=***&x=1",
		"https://f.example/?sig=1&sv=2&Subscription-Key=3&access_token=4&api_key=5&PASSWORD=6&client_secret=7&key=8": "https://f.example/?sig=***&sv=2&Subscription-Key=***&access_token=***&api_key=***&PASSWORD=***&client_secret=***&key=***",
		"https://f.example/?co%64e=1#frag":                                                                           "https://f.example/?co%64e=***",
		"https://f.example/?flag&key":                                                                                "https://f.example/?flag&key",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := httpcall.MaskURL(u); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
	if httpcall.MaskURL(nil) != "" {
		t.Error("nil")
	}
}

func TestMaskText(t *testing.T) {
	const secret = "S3cr3tS3cr3tS3cr3t"
	for _, in := range []string{
		"Get \"https://erp.example/f?code=" + secret + "&x=1\": refused",
		"see https://user:" + secret + "@erp.example/path",
		"header Authorization: Bearer " + secret + " is wrong",
		"authorization Basic " + secret + "==",
		`{"client_secret": "` + secret + `", "x": 1}`,
		`{"password":"a\"` + secret + `"}`,
		"key fry_abc_" + secret + "_1f2e",
		"Set-Cookie: SAP_SESSIONID_S4H_100=" + secret + "; path=/; HttpOnly",
		"cookie: a=b; MYSAPSSO2=" + secret + "; sap-usercontext=sap-client=100",
		`headers {"Set-Cookie": "session_id=` + secret + `; Path=/"}`,
		"the session JSESSIONID=" + secret + ", has ended",
		"session_id=" + secret + " of Odoo has expired",
		"Session " + secret + secret + " is unknown to Tryton",
		"Authorization: Session " + secret + secret + "==",
		"x-csrf-token: " + secret,
		"X-CSRF-Token=" + secret + "== is not valid",
		`{"csrf_token": "` + secret + `"}`,
		"token 0123456789abcde:" + secret + " is revoked",
		"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0." + secret,
		"(eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0." + secret + "..)",
		"{'args': {'password': '" + secret + "', 'x': 1}}",
		`[{\"api_key\":\"` + secret + `\"}]`,
		"<wsse:Password Type=\"x\">" + secret + "</wsse:Password>",
		"Server=tcp:db;User ID=sa;Password=" + secret + ";Encrypt=True",
		"AccountName=a;AccountKey=" + secret + "==;EndpointSuffix=x",
		`OAuth realm="1",oauth_token="` + secret + `",oauth_signature="` + secret + `%3D"`,
		"x-api-key: " + secret,
		"Ocp-Apim-Subscription-Key: " + secret + ";x",
	} {
		got := httpcall.MaskText(in)
		if strings.Contains(got, secret) || !strings.Contains(got, "***") {
			t.Errorf("%s\n got %s", in, got)
		}
	}
	for _, in := range []string{
		"Basic authentication is required", "the field key must be unique", "number: must be one of a, b & c?",
		"https://erp.example/invoices?externalId=A%201",
		"x-csrf-token: Required", "CSRF token validation failed", "the cookie is missing", "Session has expired, log on again", "session configuration/parameters are wrong",
		"cookie: none was sent", "token expired at 10:30:00", "a valid token is: required", "eyJ is no token",
		"lines 1;2;3 have errors; number=7; total=8", "CorrelationId:  1f3e4c5d-0000-4000-8000-0123456789ab.",
		`{"code":"SY/530","message":"Enter a session date"}`,
	} {
		if got := httpcall.MaskText(in); got != in {
			t.Errorf("%q became %q", in, got)
		}
	}
}
