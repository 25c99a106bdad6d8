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
	} {
		got := httpcall.MaskText(in)
		if strings.Contains(got, secret) || !strings.Contains(got, "***") {
			t.Errorf("%s\n got %s", in, got)
		}
	}
	for _, in := range []string{
		"Basic authentication is required", "the field key must be unique", "number: must be one of a, b & c?",
		"https://erp.example/invoices?externalId=A%201",
	} {
		if got := httpcall.MaskText(in); got != in {
			t.Errorf("%q became %q", in, got)
		}
	}
}
