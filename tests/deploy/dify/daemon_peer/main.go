// Runs Dify's own decoder and signer on a package, for test_dify_daemon.py.
//
// In a checkout of github.com/langgenius/dify-plugin-daemon: copy this file to cmd/edgec_peer/main.go, then
//
//	go build -o decoder ./cmd/edgec_peer && export EDGEC_DIFY_DECODER=$PWD/decoder
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/langgenius/dify-plugin-daemon/pkg/plugin_packager/decoder"
	"github.com/langgenius/dify-plugin-daemon/pkg/plugin_packager/signer/withkey"
	"github.com/langgenius/dify-plugin-daemon/pkg/utils/encryption"
)

const maxSize = 52428800

func main() {
	var err error
	switch os.Args[1] {
	case "verify":
		err = verify(os.Args[2], os.Args[3])
	case "sign":
		err = sign(os.Args[2], os.Args[3], os.Args[4])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// verify prints what the daemon makes of the package, with this public key among its own.
func verify(path, key string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if _, err := decoder.NewZipPluginDecoderWithSizeLimit(data, maxSize); err != nil {
		return err
	}
	keys := &decoder.ThirdPartySignatureVerificationConfig{Enabled: true, PublicKeyPaths: []string{key}}
	plugin, err := decoder.NewZipPluginDecoderWithThirdPartySignatureVerificationConfig(data, keys)
	if err != nil {
		return err
	}
	manifest, err := plugin.Manifest()
	if err != nil {
		return err
	}
	if err := manifest.ManifestValidate(); err != nil {
		return err
	}
	if err := plugin.CheckAssetsValid(); err != nil {
		return err
	}
	id, err := plugin.UniqueIdentity()
	if err != nil {
		return err
	}
	readmes, err := plugin.AvailableI18nReadme()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"verified": plugin.Verified(), "unique_id": id, "models": manifest.Model.Models, "readmes": readmes,
	})
}

func sign(path, key, output string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(key)
	if err != nil {
		return err
	}
	private, err := encryption.LoadPrivateKey(pem)
	if err != nil {
		return err
	}
	category := &decoder.Verification{AuthorizedCategory: decoder.AUTHORIZED_CATEGORY_COMMUNITY}
	signed, err := withkey.SignPluginWithPrivateKey(data, category, private)
	if err != nil {
		return err
	}
	return os.WriteFile(output, signed, 0o644)
}
