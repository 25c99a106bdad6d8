package httpauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/krberror"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/jcmturner/gokrb5/v8/types"
)

// kerberos sends a ticket of the destination's service with each request, by
// SPNEGO (RFC 4559), without being asked for it: so a body is sent once.
//
// The exchanges are made one by one, not by the library's Login: that keeps a
// goroutine which logs on by itself, again and again near the end of a ticket,
// also with a password that is wrong by then.
type kerberos struct {
	cfg      Config
	resolver Resolver
	tickets  *keeper[*tickets]
	refused  refusal
}

// tickets are what one logon gave. Fresh ones are had by a new logon.
type tickets struct {
	print  string // fingerprint of what it was made with
	client *client.Client
	end    *time.Timer

	mu       sync.Mutex // one exchange at a time: the library shuffles its list of KDCs
	ended    bool       // by close
	tgt      messages.Ticket
	key      types.EncryptionKey
	services map[string]service
}

// service is the ticket for one service.
type service struct {
	ticket messages.Ticket
	key    types.EncryptionKey
}

// maxServices bounds the services of one destination: its hosts.
const maxServices = 16

func newKerberos(cfg Config, resolver Resolver) *kerberos {
	k := &kerberos{cfg: cfg, resolver: resolver}
	k.tickets = newKeeper(k.logOn, (*tickets).drop)
	return k
}

// Apply logs on at the KDC if need be, and puts a proof for this one request on it.
func (k *kerberos) Apply(req *http.Request) error {
	print := k.Fingerprint()
	k.tickets.drop(func(t *tickets) bool { return t.print != print })
	if k.refused.stands(print) {
		return fmt.Errorf("%w: the KDC refused the same password a moment ago", ErrRefused)
	}
	proof, err := k.proof(req)
	if errors.Is(err, errTicketsEnded) {
		proof, err = k.proof(req) // they ended just then: with fresh ones
	}
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Negotiate "+proof)
	return nil
}

func (k *kerberos) proof(req *http.Request) (string, error) {
	t, err := k.tickets.take(req.Context())
	if err != nil {
		return "", err
	}
	return t.proof(req.Context(), k.cfg.Realm, k.spn(req.URL))
}

// spn is the name of the destination's service.
func (k *kerberos) spn(u *url.URL) string {
	if k.cfg.SPN != "" {
		return k.cfg.SPN
	}
	return "HTTP/" + strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
}

// Refused drops the tickets: the service may have got a new key since they were
// made.
func (k *kerberos) Refused(req *http.Request) bool {
	if !strings.HasPrefix(req.Header.Get("Authorization"), "Negotiate ") {
		return false
	}
	k.tickets.drop(func(*tickets) bool { return true })
	return true
}

func (k *kerberos) Show(req *http.Request) { req.Header.Set("Authorization", "Negotiate "+Mask) }

func (k *kerberos) Redact(text string) string {
	return source{ref: k.cfg.Password, resolver: k.resolver}.redact(text)
}

// Fingerprint covers the password, or the keytab.
func (k *kerberos) Fingerprint() string {
	var files []string
	if k.cfg.Keytab != "" {
		files = []string{k.cfg.Keytab}
	}
	return fingerprint(k.resolver, present(k.cfg.Password), files)
}

func (k *kerberos) Wrap(base http.RoundTripper) http.RoundTripper { return base }

// Close forgets the tickets.
func (k *kerberos) Close() error {
	k.tickets.close()
	return nil
}

// logOn gets a ticket of the realm. A wrong password is tried once: the first
// request goes without it, and the KDC asks for it.
func (k *kerberos) logOn(context.Context) (*tickets, time.Time, error) {
	print := k.Fingerprint()
	cfg, err := k.settings()
	if err != nil {
		return nil, time.Time{}, err
	}
	c, err := k.client(cfg)
	if err != nil {
		return nil, time.Time{}, err
	}
	ask, err := messages.NewASReqForTGT(k.cfg.Realm, cfg, c.Credentials.CName())
	if err != nil {
		return nil, time.Time{}, bad("no request for a ticket can be made: %w", err)
	}
	began := time.Now()
	given, err := c.ASExchange(k.cfg.Realm, ask, 0)
	if err != nil {
		err = kdcError(err)
		if errors.Is(err, ErrRefused) {
			k.refused.note(print)
		}
		return nil, time.Time{}, err
	}
	t := &tickets{print: print, client: c, tgt: given.Ticket, key: given.DecryptedEncPart.Key, services: map[string]service{}}
	// The library renews what it got from other realms at five sixths of its life, by
	// itself: by then it is closed.
	life := given.DecryptedEncPart.EndTime.Sub(began) * 3 / 4
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = time.AfterFunc(life, t.close)
	return t, began.Add(life), nil
}

func (k *kerberos) client(cfg *config.Config) (*client.Client, error) {
	// Active Directory does not answer to FAST without armour; the library's own
	// advice is to leave it out there.
	plain := client.DisablePAFXFAST(true)
	if k.cfg.Keytab == "" {
		password, err := k.resolver.Resolve(k.cfg.Password)
		if err != nil {
			return nil, err
		}
		return client.NewWithPassword(k.cfg.Username, k.cfg.Realm, password.Reveal(), cfg, plain), nil
	}
	data, err := readFile(k.cfg.Keytab)
	if err != nil {
		return nil, wrapFile("auth: keytab", k.cfg.Keytab, err)
	}
	keys := keytab.New()
	if err := unmarshal(keys, data); err != nil {
		return nil, wrapFile("auth: keytab", k.cfg.Keytab, err)
	}
	return client.NewWithKeytab(k.cfg.Username, k.cfg.Realm, keys, cfg, plain), nil
}

// unmarshal reads a keytab. The library's reader trusts the lengths in it.
func unmarshal(keys *keytab.Keytab, data []byte) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("it is no keytab")
		}
	}()
	if keys.Unmarshal(data) != nil || len(keys.Entries) == 0 {
		return errors.New("it is no keytab, or an empty one")
	}
	return nil
}

// settings say where the KDCs are.
func (k *kerberos) settings() (*config.Config, error) {
	if k.cfg.Krb5Conf != "" {
		data, err := readFile(k.cfg.Krb5Conf)
		if err != nil {
			return nil, wrapFile("auth: krb5Conf", k.cfg.Krb5Conf, err)
		}
		cfg, err := config.NewFromString(string(data))
		var unsupported config.UnsupportedDirective
		if err != nil && !errors.As(err, &unsupported) {
			return nil, wrapFile("auth: krb5Conf", k.cfg.Krb5Conf, err)
		}
		return cfg, nil
	}
	cfg := config.New()
	cfg.LibDefaults.DefaultRealm = k.cfg.Realm
	// Tickets of Active Directory hold the user's groups, and fit into no datagram.
	cfg.LibDefaults.UDPPreferenceLimit = 1
	cfg.LibDefaults.DNSLookupKDC = len(k.cfg.KDC) == 0
	realm := config.Realm{Realm: k.cfg.Realm}
	for _, kdc := range k.cfg.KDC {
		if _, _, err := net.SplitHostPort(kdc); err != nil {
			kdc = net.JoinHostPort(strings.Trim(kdc, "[]"), "88")
		}
		realm.KDC = append(realm.KDC, kdc)
	}
	cfg.Realms = []config.Realm{realm}
	return cfg, nil
}

// errTicketsEnded: the tickets were dropped meanwhile.
var errTicketsEnded = fmt.Errorf("%w: the tickets have ended", ErrUnavailable)

// proof makes what one request bears; a second request with the same is refused.
// The library's exchanges know no context: they end by their own bounds, and are
// waited for as long as ctx lasts.
func (t *tickets) proof(ctx context.Context, realm, spn string) (string, error) {
	type outcome struct {
		proof string
		err   error
	}
	got := make(chan outcome, 1)
	go func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		proof, err := t.proofLocked(realm, spn)
		got <- outcome{proof, err}
	}()
	select {
	case o := <-got:
		return o.proof, o.err
	case <-ctx.Done():
		return "", fmt.Errorf("%w: the KDC gives no ticket in time", ErrUnavailable)
	}
}

func (t *tickets) proofLocked(realm, spn string) (string, error) {
	if t.ended {
		return "", errTicketsEnded
	}
	s, ok := t.services[spn]
	if !ok {
		name := types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, spn)
		_, given, err := t.client.TGSREQGenerateAndExchange(name, realm, t.tgt, t.key, false)
		if err != nil {
			return "", serviceError(spn, kdcError(err))
		}
		s = service{given.Ticket, given.DecryptedEncPart.Key}
		if len(t.services) < maxServices {
			t.services[spn] = s
		}
	}
	first, err := spnego.NewNegTokenInitKRB5(t.client, s.ticket, s.key)
	if err != nil {
		return "", fmt.Errorf("%w: no proof can be made of the ticket", ErrUnavailable)
	}
	data, err := (&spnego.SPNEGOToken{Init: true, NegTokenInit: first}).Marshal()
	if err != nil {
		return "", fmt.Errorf("%w: no proof can be made of the ticket", ErrUnavailable)
	}
	return base64.StdEncoding.EncodeToString(data), nil
}

// drop ends the tickets, after an exchange that is under way; nobody waits for it.
func (t *tickets) drop() { go t.close() }

func (t *tickets) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end.Stop()
	if !t.ended {
		t.ended = true
		t.client.Destroy()
	}
}

// kdcCode finds the code in the library's text, which is all that it leaves of
// the KDC's answer.
var kdcCode = regexp.MustCompile(`KRB Error: \((\d+)\) (K[A-Z0-9_]+)`)

// Codes of RFC 4120, section 7.5.9, that are not about who asks: no KDC is there,
// clocks differ, something else is wrong.
const (
	kdcUnknownService = 7
	kdcUnavailable    = 29
	kdcSkew           = 37
	kdcGeneric        = 60
)

// kdcError tells a refusal from a KDC that is away. Its text is ours: only codes
// are taken over.
func kdcError(err error) error {
	if m := kdcCode.FindStringSubmatch(err.Error()); m != nil {
		text := fmt.Sprintf("the KDC answers %s (%s)", m[2], m[1])
		switch code, _ := strconv.Atoi(m[1]); code {
		case kdcSkew:
			return fmt.Errorf("%w: %s: the clocks of this machine and of the KDC differ", ErrUnavailable, text)
		case kdcUnavailable, kdcGeneric:
			return fmt.Errorf("%w: %s", ErrUnavailable, text)
		}
		return fmt.Errorf("%w: %s", ErrRefused, text)
	}
	var said krberror.Krberror
	switch {
	case errors.As(err, &said) && said.RootCause == krberror.NetworkingError:
		return fmt.Errorf("%w: no KDC of the realm can be reached", ErrUnavailable)
	case strings.Contains(err.Error(), "password/keytab incorrect"), strings.Contains(err.Error(), "integrity"):
		// A KDC that asks for no proof leaves it to us to find out.
		return fmt.Errorf("%w: the KDC's ticket does not open with the password", ErrRefused)
	case strings.Contains(err.Error(), "key"):
		return fmt.Errorf("%w: the keytab has no key of the user, the realm and the KDC's encryption", ErrRefused)
	}
	return fmt.Errorf("%w: the KDC's answer cannot be read", ErrUnavailable)
}

// serviceError names the service that the KDC does not know.
func serviceError(spn string, err error) error {
	if strings.Contains(err.Error(), fmt.Sprintf("(%d)", kdcUnknownService)) {
		return fmt.Errorf("%w: no account has the service name %s: see spn", err, spn)
	}
	return err
}
