"""The emulator's KMS as boto3 sees it, and Standpipe's data keys with the emulator and with moto as KMS."""

import pytest
import requests
from botocore.exceptions import ClientError
from harness import REGION, Moto, configuration, wait_until

CONTEXT = {"standpipe:application": "test", "standpipe:stream": "orders"}


def code_of(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    error = refused.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


def test_a_key_is_made_used_and_disabled(emulator):
    kms = emulator.client("kms")
    key = kms.create_key(Description="of a test")["KeyMetadata"]
    assert key["KeyState"] == "Enabled" and key["Arn"].startswith(f"arn:aws:kms:{REGION}:000000000000:key/")
    made = kms.generate_data_key(KeyId=key["Arn"], KeySpec="AES_256", EncryptionContext=CONTEXT)
    assert len(made["Plaintext"]) == 32 and made["KeyId"] == key["Arn"]
    blob = {"CiphertextBlob": made["CiphertextBlob"], "KeyId": key["KeyId"]}
    opened = kms.decrypt(**blob, EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == made["Plaintext"] and opened["KeyId"] == key["Arn"]
    assert opened["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"

    for other in [{}, {**CONTEXT, "standpipe:stream": "clicks"}, {**CONTEXT, "more": "x"}]:
        assert code_of(kms.decrypt, **blob, EncryptionContext=other) == ("InvalidCiphertextException", 400)
    another = kms.create_key()["KeyMetadata"]["Arn"]
    refused = code_of(kms.decrypt, **{**blob, "KeyId": another}, EncryptionContext=CONTEXT)
    assert refused == ("IncorrectKeyException", 400)
    listed = {entry["KeyArn"] for entry in kms.list_keys()["Keys"]}
    assert {key["Arn"], another} < listed and len(listed) == 3, "and the one that is always there"

    kms.disable_key(KeyId=key["Arn"])
    assert code_of(kms.decrypt, **blob, EncryptionContext=CONTEXT) == ("DisabledException", 400)
    kms.enable_key(KeyId=key["Arn"])
    deletion = kms.schedule_key_deletion(KeyId=key["Arn"], PendingWindowInDays=7)
    assert deletion["KeyState"] == "PendingDeletion" and deletion["DeletionDate"]
    assert code_of(kms.generate_data_key, KeyId=key["Arn"], KeySpec="AES_256")[0] == "KMSInvalidStateException"
    kms.cancel_key_deletion(KeyId=key["Arn"])
    assert kms.describe_key(KeyId=key["Arn"])["KeyMetadata"]["KeyState"] == "Disabled"
    assert code_of(kms.describe_key, KeyId="alias/none") == ("NotFoundException", 400)


def test_faults_of_kms_are_its_own(emulator):
    kms = emulator.client("kms")
    arn = kms.list_keys()["Keys"][0]["KeyArn"]
    requests.put(f"{emulator.url}/emulator/kms/faults", json={"throttle_rate": 1}, timeout=5).raise_for_status()
    assert code_of(kms.generate_data_key, KeyId=arn, KeySpec="AES_256") == ("ThrottlingException", 400)
    assert kms.describe_key(KeyId=arn)["KeyMetadata"]["Enabled"], "what is not named is not hit"
    assert emulator.client("firehose").list_delivery_streams()["DeliveryStreamNames"] == []


def key_of(pipe, stream):
    """How it stands with a stream's data key."""
    keys = requests.get(f"{pipe.admin}/v1/status", timeout=5).json()["keys"]
    return next(entry for entry in keys["streams"] if entry["name"] == stream)


def test_an_embedded_run_has_its_data_keys_from_the_emulator(start):
    pipe = start("--embedded")
    wait_until("the key is there", lambda: key_of(pipe, "demo")["state"] == "ready")
    metrics = requests.get(f"{pipe.admin}/metrics", timeout=5).text
    assert 'standpipe_encryption_keys_available{stream="demo"} 1' in metrics
    assert 'standpipe_encryption_kms_requests_total{operation="GenerateDataKey",result="ok"} 1' in metrics
    pipe.stop()


def test_data_keys_come_from_moto_when_it_is_there(start, tmp_path):
    moto = Moto(tmp_path)
    try:
        arn = moto.client("kms").create_key()["KeyMetadata"]["Arn"]
        moto.kill()
        keys = f'[keys]\nkey = "{arn}"\nendpoint = "{moto.url}"\n'
        pipe = start(config=configuration(["orders"], upstream=moto.url) + keys)
        missing = wait_until("it says why", lambda: key_of(pipe, "orders")["reason"])
        assert missing["code"] == "Connect" and not missing["needs_operator"]

        # moto has forgotten its keys: that is an operator's to put right.
        moto = Moto(tmp_path, moto.port)
        wait_until("it needs an operator", lambda: (key_of(pipe, "orders")["reason"] or {}).get("needs_operator"))
        assert key_of(pipe, "orders")["reason"]["code"] == "NotFoundException"
        pipe.stop()

        arn = moto.client("kms").create_key()["KeyMetadata"]["Arn"]
        keys = f'[keys]\nkey = "{arn}"\nendpoint = "{moto.url}"\n'
        pipe = start(config=configuration(["orders"], upstream=moto.url) + keys)
        wait_until("the key is there", lambda: key_of(pipe, "orders")["state"] == "ready")
        pipe.stop()
    finally:
        moto.kill()
