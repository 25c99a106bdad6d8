package servicebus

import (
	"net/url"
	"strconv"
	"strings"
)

const connectionStringHint = "copy it whole from the portal: the namespace, Shared access policies, a policy, Primary connection string; " +
	"it reads Endpoint=sb://NAME.servicebus.windows.net/;SharedAccessKeyName=…;SharedAccessKey=…"

// parseConnectionString checks a connection string before the SDK reads it, whose
// own errors do not say what to do. No error shows a part that may be a key.
func parseConnectionString(s string) (namespace, error) {
	values := map[string]string{}
	for part := range strings.SplitSeq(s, ";") {
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return namespace{}, bad("the connection string has a part without \"=\"").WithHint(connectionStringHint)
		}
		name = strings.ToLower(name)
		if _, twice := values[name]; twice {
			return namespace{}, bad("the connection string has a part twice").WithHint(connectionStringHint)
		}
		values[name] = value
	}
	if _, ok := values["authentication"]; ok {
		return namespace{}, bad("the connection string names a way of Entra ID to authenticate, which is not read from it").
			WithHint("give the namespace and a credential in the place of the connection string")
	}
	ns := namespace{}
	endpoint, err := url.Parse(values["endpoint"])
	if err != nil || endpoint.Scheme != "sb" || endpoint.User != nil || !hostName(endpoint.Host) || strings.Trim(endpoint.Path, "/") != "" {
		return namespace{}, bad("the connection string has no Endpoint=sb://…").WithHint(connectionStringHint)
	}
	ns.host = endpoint.Host
	if entity := values["entitypath"]; entity != "" {
		return namespace{}, bad("the connection string is that of one queue: it has EntityPath=%s", entity).
			WithHint("use one of a policy of the namespace; or remove ;EntityPath=… if the policy's key belongs to the namespace")
	}
	if v, ok := values["usedevelopmentemulator"]; ok {
		if ns.emulator, err = strconv.ParseBool(v); err != nil {
			return namespace{}, bad("UseDevelopmentEmulator in the connection string is neither true nor false")
		}
		if ns.emulator && !strings.HasPrefix(values["endpoint"], "sb:") { // the SDK goes by the case then
			return namespace{}, bad("the connection string has UseDevelopmentEmulator=true, but no Endpoint=sb://… in small letters").
				WithHint("write Endpoint=sb://HOST:PORT")
		}
	}
	return ns, ns.authority(values)
}

// authority checks that there is a key or a signature, and keeps both out of
// every error and log later.
func (ns *namespace) authority(values map[string]string) error {
	key, signature := values["sharedaccesskey"], values["sharedaccesssignature"]
	switch {
	case key == "" && signature == "":
		return bad("the connection string has neither SharedAccessKey nor SharedAccessSignature").WithHint(connectionStringHint)
	case key != "" && signature != "":
		return bad("the connection string has both a SharedAccessKey and a SharedAccessSignature").WithHint("remove one of the two")
	case key != "" && values["sharedaccesskeyname"] == "":
		return bad("the connection string has a SharedAccessKey without its SharedAccessKeyName").WithHint(connectionStringHint)
	case signature != "" && !strings.HasPrefix(signature, "SharedAccessSignature "):
		return bad("the SharedAccessSignature in the connection string is not one").
			WithHint("write SharedAccessSignature=SharedAccessSignature sr=…&sig=…&se=…&skn=…")
	}
	for _, s := range []string{key, signature} {
		if s != "" {
			ns.secrets = append(ns.secrets, s)
		}
	}
	return nil
}

// scrub takes the namespace's secrets out of a text, whoever wrote it.
func (ns namespace) scrub(text string) string {
	for _, s := range ns.secrets {
		text = strings.ReplaceAll(text, s, "***")
	}
	return text
}
