package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"ferry"
)

// BlobRefs opens blobs that senders name by their URL, in accounts that are
// allowed and nowhere else: a sender must not have the broker call what it likes.
type BlobRefs struct {
	accounts   map[string]bool // scheme://host, in lower case
	credential azcore.TokenCredential
	client     *http.Client
}

// Bounds of opening a blob.
const (
	maxBlobURL     = 4 << 10 // bytes
	blobTries      = 2       // again after a passing fault
	blobTryTimeout = 30 * time.Second
	blobRetryDelay = 500 * time.Millisecond
)

// NewBlobRefs allows accounts: ACCOUNT.blob.core.windows.net, or the http:// address
// of an emulator on this machine. credential opens what is not signed; nil: only
// signed URLs are taken. client carries the requests; nil: one of its own.
func NewBlobRefs(accounts []string, credential azcore.TokenCredential, client *http.Client) (*BlobRefs, error) {
	r := &BlobRefs{accounts: map[string]bool{}, credential: credential, client: &http.Client{}}
	if client != nil {
		own := *client
		r.client = &own
	}
	// An account that is allowed must not send the broker elsewhere.
	r.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, account := range accounts {
		text := account
		if !strings.Contains(text, "://") {
			text = "https://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" ||
			u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
			return nil, ferry.Errorf(ferry.CodeBadConfig, "%q cannot be an account of bodyRef", account).
				WithHint("write its host, such as contoso.blob.core.windows.net")
		}
		r.accounts[strings.ToLower(u.Scheme+"://"+u.Host)] = true
	}
	return r, nil
}

func isLoopback(host string) bool { return host == "127.0.0.1" || host == "::1" || host == "localhost" }

// Open opens the blob at address. Errors are *ferry.Error: badBodyRef,
// bodyRefMissing, bodyRefUnavailable; none holds the address, which may be signed.
func (r *BlobRefs) Open(ctx context.Context, address string) (io.ReadCloser, string, error) {
	signed, err := r.allowed(address)
	if err != nil {
		return nil, "", err
	}
	options := &blob.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: r.client,
		Retry:     policy.RetryOptions{MaxRetries: blobTries, TryTimeout: blobTryTimeout, RetryDelay: blobRetryDelay},
	}}
	var client *blob.Client
	if signed || r.credential == nil {
		client, err = blob.NewClientWithNoCredential(address, options)
	} else {
		client, err = blob.NewClient(address, r.credential, options)
	}
	if err != nil {
		return nil, "", badRef("it cannot be read")
	}
	answer, err := client.DownloadStream(ctx, nil)
	if err != nil {
		return nil, "", openFault(ctx, err)
	}
	contentType := ""
	if answer.ContentType != nil {
		contentType = *answer.ContentType
	}
	// What breaks off is gone on with, as long as the blob stays the same.
	return answer.NewRetryReader(ctx, nil), contentType, nil
}

// allowed says whether the address is one of a blob in an allowed account, and
// whether it brings its own right to read.
func (r *BlobRefs) allowed(address string) (signed bool, err error) {
	if len(address) > maxBlobURL {
		return false, badRef(fmt.Sprintf("it has more than %d bytes", maxBlobURL))
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return false, badRef("it is not an absolute URL without user and fragment")
	case !r.accounts[strings.ToLower(u.Scheme+"://"+u.Host)]:
		return false, badRef("its account is not one that this broker allows")
	case len(strings.Split(strings.Trim(u.EscapedPath(), "/"), "/")) < 2:
		return false, badRef("it names no blob in a container")
	}
	return u.Query().Has("sig"), nil
}

func badRef(why string) error {
	return ferry.Errorf(ferry.CodeBadBodyRef, "bodyRef cannot be used: %s", why).
		WithHint("give the https URL of a blob; bodyRef.accounts in broker.yaml lists the accounts that are allowed")
}

func openFault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	answer, answered := errors.AsType[*azcore.ResponseError](err)
	if answered && answer.StatusCode >= 300 && answer.StatusCode < 500 && answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusRequestTimeout {
		return ferry.Errorf(ferry.CodeBodyRefMissing, "nothing can be read at bodyRef: status %d %s", answer.StatusCode, answer.ErrorCode).
			WithHint("is the blob there, and does its URL, or the broker's identity, allow to read it?")
	}
	return ferry.Errorf(ferry.CodeBodyRefUnavailable, "the account of bodyRef does not answer").
		WithHint("send again after the time in Retry-After")
}
