"""An authority and what it issues, for HTTPS on this machine."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LOOPBACK = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
_SIGNS = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip


class Authority:
    """Files of it and of what it has issued lie in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = _name(folder.name)
        self.path = self._write("ca.pem", self._sign(self._key.public_key(), self._name, is_authority=True))

    def issue(self, name: str) -> tuple[str, str]:
        """Paths of a new certificate for 127.0.0.1 and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        data = key.private_bytes(serialization.Encoding.PEM, *form)
        chain = self._write(f"{name}.pem", self._sign(key.public_key(), _name(name), is_authority=False))
        return chain, self._write(f"{name}.key", data)

    def client(self, certificate: tuple[str, str] | None = None) -> ssl.SSLContext:
        """Of a client that trusts it, and shows a certificate if it has one."""
        context = ssl.create_default_context(cafile=self.path)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context

    def _sign(self, key: ec.EllipticCurvePublicKey, name: x509.Name, *, is_authority: bool) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder(issuer_name=self._name, subject_name=name, public_key=key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(_LOOPBACK, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if is_authority:
            made = made.add_extension(_SIGNS, critical=True)
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, data: bytes) -> str:
        path = self._folder / name
        path.write_bytes(data)
        return str(path)


def _name(of: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, of)])
