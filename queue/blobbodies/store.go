// Package blobbodies carries large bodies by Azure Blob Storage, beside a queue
// whose messages are too small for them. A body is a block blob under its name in
// one container; its SHA-256 is metadata of the blob, so that a body that is there
// already is not uploaded again.
package blobbodies

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"ferry"
	"ferry/queue"
)

// Options of New. One of ConnectionString with Container, SASURL, and ContainerURL
// with Credential is needed.
type Options struct {
	// ContainerURL is https://ACCOUNT.blob.core.windows.net/NAME.
	ContainerURL string
	Credential   azcore.TokenCredential
	// SASURL is the URL of the container with a shared access signature; a secret.
	SASURL string
	// ConnectionString of the storage account, a secret, and the container's name.
	ConnectionString string
	Container        string

	// Lifetime is how long a body stays at the most, wanted or not; 0: as long as it
	// is wanted. Who asks later gets it from the ledger.
	Lifetime time.Duration

	HTTP *http.Client // nil: the SDK's own
}

// How a body is uploaded and how long one request may take.
const (
	blockSize  = 1 << 20 // bytes in memory per block
	blocks     = 2       // on their way at a time
	tryTimeout = 2 * time.Minute
	tries      = 3 // again after a passing fault
	retryDelay = 500 * time.Millisecond
	longest    = 10 * time.Second // between two tries
)

// sumKey is the metadata that holds a body's SHA-256, in hex.
const sumKey = "Sha256"

// Store is a queue.BodyStore on a container.
type Store struct {
	container *container.Client
	lifetime  time.Duration
}

// New makes the store; nothing is called. Errors are *ferry.Error.
func New(o Options) (*Store, error) {
	options := &container.ClientOptions{ClientOptions: policy.ClientOptions{
		Retry: policy.RetryOptions{MaxRetries: tries, TryTimeout: tryTimeout, RetryDelay: retryDelay, MaxRetryDelay: longest},
	}}
	if o.HTTP != nil {
		options.Transport = o.HTTP
	}
	var c *container.Client
	var err error
	switch {
	case o.ConnectionString != "":
		c, err = container.NewClientFromConnectionString(o.ConnectionString, o.Container, options)
	case o.SASURL != "":
		c, err = container.NewClientWithNoCredential(o.SASURL, options)
	default:
		c, err = container.NewClient(o.ContainerURL, o.Credential, options)
	}
	if err != nil {
		// The SDK's words may hold the string that it could not read.
		return nil, ferry.Errorf(ferry.CodeBadConfig, "the container for bodies cannot be used: its connection string or URL is malformed").
			WithHint("see docs/service-bus.md, \"Large bodies\"")
	}
	return &Store{container: c, lifetime: o.Lifetime}, nil
}

// EnsureContainer makes the container where it is missing. Who may not make one
// may still use one that is there.
func (s *Store) EnsureContainer(ctx context.Context) error {
	_, err := s.container.Create(ctx, nil)
	if err == nil || bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
		return nil
	}
	if forbidden(err) {
		if _, asked := s.container.GetProperties(ctx, nil); asked == nil {
			return nil
		}
	}
	return s.fault(ctx, "make the container for bodies", err)
}

// Put uploads a body in blocks, which become the blob all at once.
func (s *Store) Put(ctx context.Context, name string, size int64, sum []byte, open func() (io.ReadCloser, error)) error {
	blob := s.container.NewBlockBlobClient(name)
	text := hex.EncodeToString(sum)
	if there, err := blob.GetProperties(ctx, nil); err == nil {
		if there.ContentLength != nil && *there.ContentLength == size && sumOf(there.Metadata) == text {
			return nil
		}
	}
	body, err := open()
	if err != nil {
		return fmt.Errorf("open body %s: %w", name, err)
	}
	defer func() { _ = body.Close() }()
	checked := &checkedReader{from: body, sum: sha256.New(), size: size, want: text}
	_, err = blob.UploadStream(ctx, checked, &blockblob.UploadStreamOptions{
		BlockSize: blockSize, Concurrency: blocks, Metadata: map[string]*string{sumKey: &text},
	})
	if checked.failed != nil {
		return fmt.Errorf("read body %s: %w", name, checked.failed)
	}
	return s.fault(ctx, "upload body "+name, err)
}

func sumOf(metadata map[string]*string) string {
	for key, value := range metadata { // the SDK gives the names as HTTP spells them
		if http.CanonicalHeaderKey(key) == sumKey && value != nil {
			return *value
		}
	}
	return ""
}

// checkedReader fails at its end when the body is not what was accepted, so that
// no blob is made of it.
type checkedReader struct {
	from   io.Reader
	sum    hash.Hash
	n      int64
	size   int64
	want   string
	failed error
}

var errOther = errors.New("it is not what was accepted")

func (r *checkedReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.sum.Write(p[:n])
	r.n += int64(n)
	switch {
	case errors.Is(err, io.EOF) && (r.n != r.size || hex.EncodeToString(r.sum.Sum(nil)) != r.want):
		err = errOther
	case r.n > r.size:
		err = errOther
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.failed = err
	}
	return n, err
}

// Get downloads a body; what breaks off in the midst is gone on with.
func (s *Store) Get(ctx context.Context, name string, w io.Writer) error {
	answer, err := s.container.NewBlobClient(name).DownloadStream(ctx, nil)
	if err != nil {
		return s.fault(ctx, "download body "+name, err)
	}
	body := answer.NewRetryReader(ctx, nil)
	defer func() { _ = body.Close() }()
	to := &watchedWriter{to: w}
	if _, err := io.CopyBuffer(to, onlyReader{body}, make([]byte, 128<<10)); err != nil {
		if to.failed != nil {
			return to.failed
		}
		return s.fault(ctx, "download body "+name, err)
	}
	return nil
}

// onlyReader hides what else a reader can do, so that the buffer is used.
type onlyReader struct{ io.Reader }

// watchedWriter keeps an error of the writer apart from those of the download.
type watchedWriter struct {
	to     io.Writer
	failed error
}

func (w *watchedWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.failed = err
	return n, err
}

// Delete removes a body.
func (s *Store) Delete(ctx context.Context, name string) error {
	_, err := s.container.NewBlobClient(name).Delete(ctx, nil)
	if bloberror.HasCode(err, bloberror.BlobNotFound, bloberror.ContainerNotFound) {
		return nil
	}
	return s.fault(ctx, "remove body "+name, err)
}

// Sweep removes old bodies that nobody wants. Blobs under other names are not
// touched: the container may be shared.
func (s *Store) Sweep(ctx context.Context, older time.Duration, keep func(name string) bool) (removed int, err error) {
	before := time.Now().Add(-older)
	for pages := s.container.NewListBlobsFlatPager(nil); pages.More(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return removed, s.fault(ctx, "list the bodies", err)
		}
		for _, item := range page.Segment.BlobItems {
			if item.Name == nil || item.Properties == nil || item.Properties.LastModified == nil {
				continue
			}
			name := *item.Name
			at := *item.Properties.LastModified
			over := s.lifetime > 0 && time.Since(at) > s.lifetime
			if _, _, ours := queue.ParseBodyName(name); !ours || at.After(before) || !over && keep(name) {
				continue
			}
			if err := s.Delete(ctx, name); err != nil {
				return removed, err
			}
			removed++
		}
	}
	return removed, nil
}

func forbidden(err error) bool {
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	return ok && (answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized)
}

// fault names an error of the store without the URL that was called: it may hold
// a signature.
func (s *Store) fault(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case bloberror.HasCode(err, bloberror.BlobNotFound):
		return fmt.Errorf("%s: %w", what, queue.ErrBodyMissing)
	case forbidden(err):
		return fmt.Errorf("%s: %w", what, queue.ErrUnauthorized)
	}
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return fmt.Errorf("%s: status %d %s: %w", what, answer.StatusCode, answer.ErrorCode, queue.ErrUnavailable)
	}
	return fmt.Errorf("%s: %s: %w", what, cause(err), queue.ErrUnavailable)
}

// cause is the innermost error: the ones around it name the URL.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
