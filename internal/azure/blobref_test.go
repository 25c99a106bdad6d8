package azure_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/internal/azure"
)

// account is a storage account with one blob, which breaks off once.
func account(t *testing.T, body []byte) (url string, asked *int) {
	t.Helper()
	asked = new(int)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked++
		switch {
		case r.URL.Path == "/elsewhere/blob":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		case r.URL.Path == "/busy/blob":
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path != "/flows/invoice 1.json":
			w.Header().Set("x-ms-error-code", "BlobNotFound")
			w.WriteHeader(http.StatusNotFound)
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("ETag", `"1"`)
			if rng := r.Header.Get("x-ms-range"); rng != "" {
				r.Header.Set("Range", rng)
			} else if *asked == 1 {
				w.Header().Set("Content-Length", "1000000")
				_, _ = w.Write(body[:len(body)/2])
				panic(http.ErrAbortHandler)
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func TestABlobIsOpenedAndGoneOnWith(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	url, asked := account(t, body)
	refs, err := azure.NewBlobRefs([]string{url}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	blob, contentType, err := refs.Open(t.Context(), url+"/flows/invoice%201.json?sv=1&sig=secret")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = blob.Close() }()
	got, err := io.ReadAll(blob)
	if err != nil || !bytes.Equal(got, body) || contentType != "application/json" {
		t.Errorf("%d bytes of %q, %v; want the %d of the blob", len(got), contentType, err, len(body))
	}
	if *asked < 2 {
		t.Errorf("asked %d times: it did not break off", *asked)
	}
}

func TestWhatIsNotTaken(t *testing.T) {
	url, asked := account(t, []byte("0123456789"))
	refs, err := azure.NewBlobRefs([]string{url, "contoso.blob.core.windows.net"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		ref  string
		code ferry.Code
		asks bool
	}{
		"another host":      {"https://evil.example/flows/x", ferry.CodeBadBodyRef, false},
		"a longer host":     {"https://contoso.blob.core.windows.net.evil.example/c/x", ferry.CodeBadBodyRef, false},
		"a host as user":    {"https://contoso.blob.core.windows.net@evil.example/c/x", ferry.CodeBadBodyRef, false},
		"without TLS":       {"http://contoso.blob.core.windows.net/c/x", ferry.CodeBadBodyRef, false},
		"another port":      {"https://contoso.blob.core.windows.net:8443/c/x", ferry.CodeBadBodyRef, false},
		"a file":            {"file:///etc/passwd", ferry.CodeBadBodyRef, false},
		"no URL":            {"flows/x", ferry.CodeBadBodyRef, false},
		"a container":       {url + "/flows", ferry.CodeBadBodyRef, false},
		"too long":          {url + "/flows/" + strings.Repeat("x", 5000), ferry.CodeBadBodyRef, false},
		"no such blob":      {url + "/flows/other?sig=secret", ferry.CodeBodyRefMissing, true},
		"it leads away":     {url + "/elsewhere/blob?sig=secret", ferry.CodeBodyRefMissing, true},
		"an account at bay": {url + "/busy/blob?sig=secret", ferry.CodeBodyRefUnavailable, true},
	} {
		before := *asked
		_, _, err := refs.Open(t.Context(), c.ref)
		if ferry.CodeOf(err) != c.code || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s and no signature", what, err, c.code)
		}
		if (*asked > before) != c.asks {
			t.Errorf("%s: asked %d times", what, *asked-before)
		}
	}
}

func TestAccountsAreHosts(t *testing.T) {
	for _, account := range []string{"", "http://contoso.blob.core.windows.net", "contoso.blob.core.windows.net/container", "https://u@h", "https://h?sig=1", "ftp://127.0.0.1"} {
		if _, err := azure.NewBlobRefs([]string{account}, nil, nil); ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Errorf("account %q: %v, want badConfiguration", account, err)
		}
	}
}
