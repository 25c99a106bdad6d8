package erp

import (
	"net/url"
	"regexp"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
)

// odata is the dialect of OData services, V4 (OASIS, OData 4.0 and 4.01) and V2
// (MS-ODATA, sections 2 and 3). Proven against SAP CAP, whose answers the rules
// with a comment were seen at.
func odata() dialect {
	return dialect{
		verdicts: odataVerdicts(),
		lookups:  odataLookups(),
		settings: odataSettings(),
		open:     func(d *destination) error { return openOData(d, versionV4) },
		form:     newODataForm,
		problem:  odataErrors,
		health:   "/", // the service document
	}
}

func odataSettings() []string {
	return []string{"version", "entity", "method", "write", "key", "finish", "batch", "lookup.where"}
}

// uniqueViolation are the codes of a duplicate that databases give and CAP passes
// on: of SQLite, of PostgreSQL (unique_violation) and of SAP HANA (301). In
// production CAP says nothing but "500", so that only a lookup tells.
var uniqueViolation = regexp.MustCompile(`^(SQLITE_CONSTRAINT_(UNIQUE|PRIMARYKEY)|23505|301|UNIQUE_CONSTRAINT_VIOLAT(ED|ION)|ENTITY_ALREADY_EXISTS)$`)

func odataVerdicts() httpcall.Table {
	return httpcall.Table{
		{Status: httpcall.Between(400, 599), Code: uniqueViolation, Kind: conflict},

		{Status: httpcall.Between(200, 299), Kind: ferry.Delivered, Effect: ferry.EffectDone},
		{Status: httpcall.Status(303), Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Text: "redirects are not followed"},
		{
			Status: httpcall.Between(300, 399), Kind: ferry.Rejected, Effect: ferry.EffectNone,
			Text: "redirects are not followed; check the destination's url",
		},

		{Status: httpcall.Status(401, 403, 407), Kind: ferry.Unauthorized, Effect: ferry.EffectNone},
		{Status: httpcall.Status(408), Kind: ferry.Unknown, Effect: ferry.EffectMaybe},
		{Status: httpcall.Status(409), Kind: conflict},
		{Status: httpcall.Status(412), Kind: stale, Effect: ferry.EffectNone},
		// Somebody works on the document: later it is free. The system is up.
		{Status: httpcall.Status(423), Kind: ferry.Failed, Effect: ferry.EffectNone, Text: "the document is locked"},
		{Status: httpcall.Status(425, 429), Kind: ferry.Throttled, Effect: ferry.EffectNone},
		{
			Status: httpcall.Status(428), Kind: ferry.Failed, Effect: ferry.EffectNone,
			Text: "the service wants If-Match and the request bore none; write: update or upsert reads the ETag first",
		},
		{Status: httpcall.Between(400, 499), Kind: ferry.Rejected, Effect: ferry.EffectNone},

		{Status: httpcall.Status(501, 505), Kind: ferry.Failed, Effect: ferry.EffectNone},
		{Status: httpcall.Status(503), Kind: ferry.Unavailable, Effect: ferry.EffectNone},
		{Status: httpcall.Between(500, 599), Kind: ferry.Unknown, Effect: ferry.EffectMaybe},
	}
}

// odataLookups: a question by $filter that finds nothing is answered with an empty
// list. 404 is then an address that is wrong, and proves nothing.
func odataLookups() httpcall.Table {
	return httpcall.Table{
		{Status: httpcall.Status(401, 403, 407), Kind: ferry.Unauthorized},
		{Status: httpcall.Status(404), Kind: ferry.Failed, Text: "there is no such address: check url and entity"},
		{Status: httpcall.Status(425, 429), Kind: ferry.Throttled},
		{Status: httpcall.Status(502, 503, 504), Kind: ferry.Unavailable},
	}
}

// The versions of the protocol.
const (
	versionV2 = "v2"
	versionV4 = "v4"
)

func openOData(d *destination, usual string) error {
	switch version := strings.ToLower(d.cfg.Version); version {
	case "":
		d.cfg.Version = usual
	case versionV2, versionV4:
		d.cfg.Version = version
	default:
		return bad("version: there is no %q", d.cfg.Version).WithHint("%s or %s", versionV2, versionV4)
	}
	return nil
}

// odataSAP is the dialect of SAP S/4HANA and other systems with SAP Gateway, V2
// and V4. Modelled on SAP's documentation, which is named at what rests on it.
func odataSAP() dialect {
	d := odata()
	d.verdicts = append(sapVerdicts(), odataVerdicts()...)
	d.lookups = append(sapLookups(), odataLookups()...)
	d.settings = append(odataSettings(), "client")
	d.open = openSAP
	d.session = newSAPSession
	return d
}

// What is temporary because somebody has the document open. MC/601 (object
// requested is currently locked by user) and 06/001 (blocked by another user) are
// messages of T100; most application classes have one of their own, so that words
// tell, in the languages in which they were met. "Blocked" alone is a business
// status, and no lock.
var (
	sapLockCode  = regexp.MustCompile(`^(MC/601|06/001)$`)
	sapLockWords = regexp.MustCompile(`(?i)(\b(locked|blocked) by( another)? user|\blocked by another (process|session)|` +
		`\b(currently|already) (being )?(locked|processed|edited|changed) by |\bbeing (processed|edited|changed) by( another)? user|` +
		`gesperrt (durch|von|vom) (den |einem )?(anderen )?benutzer|(durch|vom|von) (den |einem )?(anderen )?benutzer \S+ (gesperrt|bearbeitet)|` +
		`(verrouillé|bloqué)e?s? par (l['’]utilisateur|un autre utilisateur)|bloqueado por (el |o )?(otro |outro )?(usuario|usuário)|` +
		`bloccat[oa] dall['’] ?(altro )?utente|(geblokkeerd|vergrendeld) door (een andere )?gebruiker)`)
)

// isLock says whether an error, or one of several, is a lock.
func isLock(code, text string) bool {
	return sapLockCode.MatchString(code) || sapLockWords.MatchString(text)
}

func sapVerdicts() httpcall.Table {
	refused := httpcall.Between(400, 599)
	return httpcall.Table{
		// Nothing was looked at yet. The session is begun anew, and the request repeated once.
		{Status: httpcall.Status(403), Header: "X-CSRF-Token: Required", Kind: ferry.Unauthorized, Effect: ferry.EffectNone, Text: "the CSRF token is missing or over"},

		// "RequestID is outdated": SAP's own help to the message says that the request
		// was processed successfully before.
		{Status: refused, Code: regexp.MustCompile(`^/IWBEP/CM_COS/005$`), Kind: conflict},
		{
			Status: refused, Code: regexp.MustCompile(`^/IWBEP/CM_COS/001$`), Kind: ferry.Failed, Effect: ferry.EffectNone,
			Text: `the system has no settings for repeatable requests (SPRO, "Define Settings for Idempotent Services"); requestIdHeader: "-" does without`,
		},
		{
			Status: refused, Header: "RepeatabilityResult: unsupported", Kind: ferry.Failed, Effect: ferry.EffectNone,
			Text: `the service refuses repeatable requests; requestIdHeader: "-" does without`,
		},

		// The checks for invoices that are there already: in purchasing M8/462 and M8/108,
		// in accounting F5/117; other applications say it in words. Whose document it is,
		// only the lookup tells.
		{Status: refused, Code: regexp.MustCompile(`^(M8/(108|462)|F5/117)$`), Kind: conflict},
		{Status: refused, Says: regexp.MustCompile(`(?i)\balready (been )?(entered|posted|exists?)\b|\bbereits (erfasst|gebucht|vorhanden)\b|\bexistiert bereits\b`), Kind: conflict},

		{Status: refused, Code: sapLockCode, Kind: ferry.Failed, Effect: ferry.EffectNone, Text: "the document is locked"},
		{Status: refused, Says: sapLockWords, Kind: ferry.Failed, Effect: ferry.EffectNone, Text: "the document is locked"},

		// The hub knows no such service, or no way to its system: no message's fault, and
		// the same for all.
		{Status: httpcall.Status(403, 404), Code: sapNoService, Kind: ferry.Unauthorized, Effect: ferry.EffectNone, Text: noService},
		{Status: httpcall.Status(500), Code: sapNoAlias, Kind: ferry.Unavailable, Effect: ferry.EffectNone, Text: noAlias},
	}
}

var (
	sapNoService = regexp.MustCompile(`^/IWFND/MED/\d+$`)
	sapNoAlias   = regexp.MustCompile(`^/IWFND/CM_COS/(064|002)$`)
)

const (
	noService = "the gateway has no such service; it is registered and activated in /IWFND/MAINT_SERVICE"
	noAlias   = "the gateway knows no system for the service; its alias is set in /IWFND/MAINT_SERVICE"
)

func sapLookups() httpcall.Table {
	return httpcall.Table{
		{Status: httpcall.Status(403, 404), Code: sapNoService, Kind: ferry.Unauthorized, Text: noService},
		{Status: httpcall.Status(500), Code: sapNoAlias, Kind: ferry.Unavailable, Text: noAlias},
	}
}

var sapClient = regexp.MustCompile(`^[0-9]{3}$`)

// openSAP takes the version from the address where none is set, and puts the
// client on every request: a user exists in one client, and the token is its.
func openSAP(d *destination) error {
	usual := versionV2
	if strings.Contains(d.base.prefix+"/", "/sap/opu/odata4/") {
		usual = versionV4
	}
	if err := openOData(d, usual); err != nil {
		return err
	}
	client := d.cfg.Client
	if client == "" {
		return nil
	}
	if !sapClient.MatchString(client) {
		return bad("client is %q", client).WithHint(`three digits, quoted: client: "100"`)
	}
	query, err := url.ParseQuery(d.base.query)
	if err != nil {
		return bad("the query of url cannot be read")
	}
	switch own := query.Get("sap-client"); own {
	case client:
	case "":
		d.base.query = joinQueries(d.base.query, "sap-client="+client)
	default:
		return bad("client is %s, and url says sap-client=%s", client, own)
	}
	return nil
}

// byKey judges the answers to a question for a document by its key: only the
// service itself can say that it is not there.
func byKey() httpcall.Table {
	const wrong = "there is no such address: check url and entity"
	return httpcall.Table{
		// SAP Gateway: what the service itself did not find; what the hub does not know;
		// what its parser does not know, whose codes have 32 digits.
		{Status: httpcall.Status(404), Code: regexp.MustCompile(`^/IWBEP/CM_MGW_RT/020$`), Kind: absent},
		{Status: httpcall.Status(404), Code: sapNoService, Kind: ferry.Unauthorized, Text: noService},
		{Status: httpcall.Status(404), Code: regexp.MustCompile(`^[0-9A-F]{32}$`), Kind: ferry.Failed, Text: wrong},
		// CAP: a wrong entity set is worded so, a missing document is "Not Found".
		{Status: httpcall.Status(404), Says: regexp.MustCompile(`(?i)resource path|no service|for the segment`), Kind: ferry.Failed, Text: wrong},
		{Status: httpcall.Status(404), Code: regexp.MustCompile(`.`), Kind: absent},
	}
}

// needsKey says whether a route writes over documents, which are addressed by key.
func needsKey(cfg *adapters.RouteConfig) bool {
	return cfg.Write == writeUpdate || cfg.Write == writeUpsert
}
